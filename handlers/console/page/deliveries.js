import { api } from './api.js'
import { button, el, written } from './dom.js'

// What a message was to each who was a member when it came (README, "Who is woken").

const means = {
  everyone: 'nobody was mentioned, so it is for everyone',
  mention: 'mentioned in it',
  on_duty: 'on duty',
  wake_list: 'on the wake list',
  direct: 'a direct message',
  turn: 'it is their turn',
  author: 'wrote it',
  silent: 'reports wake nobody',
  not_addressed: 'it was not for them',
  not_your_turn: 'it was not their turn',
  admin: 'the admin watches triage',
}

const did = { wake: 'woken', observer: 'observes', skip: 'skipped' }

// outcome is a mark that says whether somebody was woken.
export function outcome(woke, text) {
  return el('span', { class: woke ? 'outcome woke' : 'outcome' }, text)
}

export async function deliveries(message, failed) {
  const rows = el('tbody', {})
  const more = el('p', {})
  const load = async (after) => {
    const { items, next } = await api('GET', `messages/${message.id}/deliveries${after ? `?after=${after}` : ''}`)
    rows.append(
      ...items.map(({ userId, outcome: what, reason }) =>
        el(
          'tr',
          {},
          el('th', { scope: 'row' }, written(userId)),
          el('td', {}, outcome(what === 'wake', did[what] ?? what)),
          el('td', {}, el('code', {}, reason), ` ${means[reason] ?? ''}`),
        ),
      ),
    )
    more.replaceChildren(...(next ? [button('More', { class: 'quiet' }, () => load(next), failed)] : []))
  }
  await load()
  return el(
    'div',
    { class: 'deliveries' },
    el(
      'table',
      {},
      el(
        'thead',
        { class: 'unseen' },
        el(
          'tr',
          {},
          ['Member', 'Outcome', 'Reason'].map((name) => el('th', { scope: 'col' }, name)),
        ),
      ),
      rows,
    ),
    more,
  )
}
