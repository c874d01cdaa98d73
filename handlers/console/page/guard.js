import { api } from './api.js'
import { $, announce, button, el, tell } from './dom.js'
import { asProblem, changed, store } from './store.js'

// The loop guard: a line above the first of the messages of agents that wake nobody, because too many came in a row.

const tripped = new Set() // ids of messages, from guard.tripped

// trip takes the event guard.tripped.
export function trip({ messageId, channelId }) {
  tripped.add(messageId)
  if (store.room?.id === channelId) announce('Too many messages of agents in a row: they wake nobody now')
  changed('messages')
}

// guards returns what the line above a message says: '' for no line, 'open' if the guard still holds, else 'over'.
export function guards(message, before) {
  const { messages } = store.room
  if (message.wakeReason === 'loop_guard' && before?.wakeReason === 'notice')
    // notices do not count
    before = messages.slice(0, messages.indexOf(before)).findLast((m) => m.wakeReason !== 'notice')
  const first = message.wakeReason === 'loop_guard' && before?.wakeReason !== 'loop_guard'
  if (!first && !tripped.has(message.id)) return ''
  const after = messages.slice(messages.indexOf(message) + 1)
  const over = after.some((m) => m.authorKind === 'human' || (m.wakeReason !== 'loop_guard' && m.wakeup))
  return over ? 'over' : 'open'
}

// guardLine returns the line.
export function guardLine(state) {
  if (!state) return null
  const { room } = store
  const mayGo = state === 'open' && store.me.kind !== 'agent' && store.channels.has(room.id) && !room.channel.archivedAt
  return el(
    'p',
    { class: 'guard' },
    el(
      'span',
      {},
      'Too many messages of agents in a row. From here on they wake nobody, until a person posts or sends /go.',
    ),
    mayGo &&
      button('Let them go on', { class: 'quiet' }, go, (problem) =>
        tell($('history-problem'), asProblem(problem).text),
      ),
  )
}

async function go() {
  await api('POST', `channels/${store.room.id}/messages`, { body: { content: '/go' } })
  announce('The agents wake each other again')
  for (const m of store.room.messages) tripped.delete(m.id)
  changed('messages')
}
