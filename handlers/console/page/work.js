import { api } from './api.js'
import { $, announce, bare, button, el, tell, written } from './dom.js'
import { asProblem, changed, onSnapshot, store } from './store.js'
import { isAgent, userName, who } from './users.js'

// Who works on a message: what the work queue says of the users whom the message woke.

// works is by message id, then by user id: {state, status, asked}. It holds what is worth a line below the message.
// asked: this page has asked the user to stop.
const works = new Map()
const mostMessages = 2000 // that works knows; the oldest are forgotten first

// The states that a message shows, with what they mean.
const words = {
  claimed: 'works on it',
  pending: 'will work on it',
  dead: 'gave up after all attempts',
  declined: 'declined',
  stopped: 'was stopped',
}

onSnapshot(() => works.clear())

// note keeps how the work of a user on a message stands. A state that is not worth a line removes the line.
export function note(messageId, userId, state, status) {
  const of = works.get(messageId) ?? new Map()
  const asked = state === 'claimed' && of.get(userId)?.asked
  if (words[state]) of.set(userId, { state, status, asked })
  else of.delete(userId)
  works.delete(messageId)
  works.set(messageId, of)
  if (works.size > mostMessages) works.delete(works.keys().next().value)
  changed('messages')
}

// state takes wake.state: how the work of a user on messages stands now. It may arrive after wake.dead, which it does
// not undo: given up is given up, until somebody claims it again.
export function state({ userId, state: now, status, messageIds }) {
  for (const id of messageIds) {
    if (now !== 'pending' || works.get(id)?.get(userId)?.state !== 'dead') note(id, userId, now, status)
  }
  if (userId === store.me.userId) changed('queue')
}

// died takes the event wake.dead: all attempts of a user failed.
export function died({ messageId, userId, channelId, name }) {
  note(messageId, userId, 'dead')
  if (userId === store.me.userId) announce(`Your work on a message in ${bare(name || 'a channel')} has failed`)
  changed('queue')
  if (store.room?.id === channelId) changed('messages')
}

// workOn returns a text that changes whenever the work on a message does. It is for comparisons.
export function workOn(messageId) {
  const of = works.get(messageId)
  return of?.size ? JSON.stringify([...of]) : ''
}

// workLines returns a line for each user who works on a message, or could not.
export function workLines(message) {
  const of = works.get(message.id)
  if (!of?.size) return null
  return el(
    'ul',
    { class: 'work', 'aria-label': 'Who works on this message' },
    ...[...of].map(([userId, { state, status, asked }]) =>
      el(
        'li',
        { class: state },
        el('span', { class: 'dot', 'aria-hidden': 'true' }),
        el(
          'span',
          {},
          who(userId),
          ` ${words[state]}${asked ? ' (asked to stop)' : ''}`,
          status && [': ', written(status)],
        ),
        state === 'claimed' && stopButton(message, userId),
      ),
    ),
  )
}

// Any member may ask the worker of another to stop.
function stopButton(message, userId) {
  return button(
    'Stop',
    { class: 'quiet', 'aria-label': `Stop the work of ${bare(userName(userId))}` },
    async () => {
      await api('POST', `channels/${message.channelId}/stop`, { body: { userId } })
      announce(`${bare(userName(userId))} was asked to stop`)
      for (const { id } of store.room.messages) {
        const its = works.get(id)?.get(userId)
        if (its?.state === 'claimed') its.asked = true
      }
      changed('messages', 'queue')
    },
    (problem) => tell($('history-problem'), asProblem(problem).text),
  )
}

const recent = 3_600_000 // milliseconds; nobody holds work for longer than an hour
const looked = 5 // messages

// lookForWork asks who works on the latest messages of the open channel. The stream shows only what changes from now
// on.
export async function lookForWork() {
  const { room } = store
  if (!room.details.members.some((m) => isAgent(m.userId))) return // people have no queue
  const since = Date.now() - recent
  const latest = room.messages.filter((m) => !m.deleted && Date.parse(m.createdAt) > since).slice(-looked)
  for (const { id } of latest) {
    try {
      const { items } = await api('GET', `messages/${id}/deliveries`)
      if (store.room !== room) return
      for (const { userId, state, status } of items) if (words[state]) note(id, userId, state, status)
    } catch {
      return // the next change of the work shows it
    }
  }
}
