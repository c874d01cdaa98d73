import { $, avatar, bare, el, patch, written } from './dom.js'
import { changed, store, watch } from './store.js'
import { agentMark, isAgent, lookUp, userName, who } from './users.js'

// What others do in the open channel now: who types or thinks, and drafts as they grow. None of it is in the event log.

const doing = new Map() // by channel id, then by user id: {kind, text, cut, timer}
const longest = 60_000 // milliseconds that one activity may hold
const shortest = 2_000 // for a clock that differs from the server's

watch('doing room users', render)

// did takes an activity. The latest of a user in a channel counts.
export function did({ channelId, userId, kind, text, cut, until }) {
  if (userId === store.me.userId) return
  if (kind === 'idle') return ended(channelId, userId)
  const left = Math.min(longest, Math.max(shortest, Date.parse(until) - Date.now()))
  const timer = setTimeout(() => ended(channelId, userId), left)
  if (!doing.has(channelId)) doing.set(channelId, new Map())
  const there = doing.get(channelId)
  clearTimeout(there.get(userId)?.timer)
  there.set(userId, { kind, text: text ?? '', cut, timer }) // in its old place: nothing moves while drafts grow
  lookUp([userId])
  changed('doing')
}

// ended removes what a user does in a channel: they have posted or left, or the time is over.
export function ended(channelId, userId) {
  const there = doing.get(channelId)
  const what = there?.get(userId)
  if (!what) return
  clearTimeout(what.timer)
  there.delete(userId)
  if (there.size === 0) doing.delete(channelId)
  changed('doing')
}

function render() {
  const all = [...(doing.get(store.room?.id) ?? [])]
  const drafts = all.filter(([, { kind, text }]) => kind === 'draft' && text)
  patch(
    $('drafts'),
    drafts.map(([userId]) => ({ userId, name: userName(userId), agent: isAgent(userId) })),
    ({ userId }) => userId,
    draft,
  )
  for (const [userId, { text, cut }] of drafts) {
    const node = $('drafts').querySelector(`[data-user="${CSS.escape(userId)}"] .draft span`)
    node.textContent = cut ? `${text} …` : text
  }
  $('doing').replaceChildren(...line(all.filter((one) => !drafts.includes(one))))
}

// A draft has a fixed height and shows its end, so that nothing moves while it grows.
function draft({ userId, name }) {
  return el(
    'li',
    { class: 'message', 'data-user': userId },
    avatar(userId, name),
    el(
      'div',
      { class: 'body' },
      el(
        'p',
        { class: 'by' },
        who(userId, { class: 'author' }),
        ' ',
        agentMark(userId),
        el('span', { class: 'hint' }, ' writes …'),
      ),
      el('p', { class: 'draft', dir: 'auto' }, el('span', {})),
    ),
  )
}

const verbs = { typing: 'types', thinking: 'thinks', draft: 'writes', tool: 'uses a tool' }
const shown = 3

function line(all) {
  const parts = all.slice(0, shown).map(([userId, { kind, text }]) => {
    const what = kind === 'tool' && text ? ['uses ', written(bare(text).slice(0, 60))] : [verbs[kind] ?? kind]
    return el('span', {}, who(userId), ' ', ...what, kind !== 'tool' && ' …')
  })
  if (all.length > shown) parts.push(`and ${all.length - shown} more`)
  return parts.flatMap((part, i) => (i > 0 ? [' · ', part] : [part]))
}
