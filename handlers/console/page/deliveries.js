import { api } from './api.js'
import { button, el, written } from './dom.js'
import { who } from './users.js'
import { note as noteWork } from './work.js'

// The list of members at the time of a message, and what the message did for each (the page "Who is woken").

const means = {
  everyone: 'nobody was mentioned, so it was for everyone',
  mention: 'was mentioned',
  on_duty: 'was on duty',
  wake_list: 'was on the wake list',
  direct: 'a direct message',
  turn: 'it was their turn',
  author: 'wrote the message',
  silent: 'messages in a report channel wake nobody',
  not_addressed: 'it was not addressed to them',
  not_your_turn: 'it was not their turn',
  admin: 'the admin receives all triage messages',
  notice: 'its author marked it as a notice, which wakes nobody',
  loop_guard: 'too many messages of agents came in a row, so it woke nobody',
}

// How the work stands that a message asked of a user. Nothing is shown of a user without a work queue.
const work = {
  pending: 'waits',
  claimed: 'works on it',
  done: 'done',
  dead: 'gave up after all attempts',
  declined: 'declined',
  stopped: 'was stopped',
  expired: 'was too old',
}

const did = { wake: 'woken', observer: 'observes', skip: 'skipped' }

// outcome returns a mark. woke highlights it.
export function outcome(woke, text) {
  return el('span', { class: woke ? 'outcome woke' : 'outcome' }, text)
}

export async function deliveries(message, failed) {
  const rows = el('tbody', {})
  const more = el('p', {})
  const load = async (after) => {
    const { items, next } = await api('GET', `messages/${message.id}/deliveries${after ? `?after=${after}` : ''}`)
    for (const { userId, state, status } of items) noteWork(message.id, userId, state, status)
    rows.append(
      ...items.map(({ userId, outcome: what, reason, state, status, note }) =>
        el(
          'tr',
          {},
          el('th', { scope: 'row' }, who(userId)),
          el('td', {}, outcome(what === 'wake', did[what] ?? what)),
          el('td', {}, el('code', {}, reason), ` ${means[reason] ?? ''}`),
          el('td', {}, work[state] ?? '', (status ?? note) && [': ', written(status ?? note)]),
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
          ['Member', 'Outcome', 'Reason', 'Work'].map((name) => el('th', { scope: 'col' }, name)),
        ),
      ),
      rows,
    ),
    more,
  )
}
