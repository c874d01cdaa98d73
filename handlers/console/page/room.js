import { api } from './api.js'
import { prepare } from './markdown.js'
import { asProblem, changed, onSnapshot, partner, store } from './store.js'
import { firstNew } from './unread.js'
import { learn } from './users.js'
import { lookForWork } from './work.js'

// The open channel: its details, and its messages from the history and from the stream.

const pageSize = 50
const keptMessages = 1000 // on the page; older ones are in the history

const arrivals = []
// onArrival adds a function that is called for each new message of the open channel.
export function onArrival(call) {
  arrivals.push(call)
}

onSnapshot(() => {
  if (store.room) open(store.room.id)
})

// open opens a channel and loads it. null closes the open one.
export async function open(id) {
  if (!id) {
    store.room = null
    return changed('room', 'messages', 'channels')
  }
  const before = store.room?.id === id ? store.room : null // shown until the new data is loaded
  const apart = before?.apart // what it shows does not join what will be loaded
  const room = {
    id,
    channel: store.channels.get(id) ?? before?.channel ?? null,
    details: before?.details ?? null,
    problem: null,
    messages: apart ? [] : (before?.messages ?? []),
    loaded: before?.loaded ?? false,
    earlier: before?.earlier ?? null, // id of the oldest message, if there are older ones
    newFrom: before?.newFrom ?? null, // id of the message below the line that says "new"
    apart: false, // the newest messages are not shown: see showAt
    sought: new Map(), // by word: a promise; see seek
    found: new Set(), // ids of the users that were sought
  }
  const known = new Set(room.messages.map((m) => m.id))
  store.room = room
  changed('room', 'messages', 'channels')
  try {
    const [details, history] = await Promise.all([api('GET', `channels/${id}`), loadHistory(id)])
    if (store.room !== room) return
    setDetails(room, details)
    const oldest = history.items.at(-1)
    const shown = new Set(history.items.map((m) => m.id))
    const meanwhile = room.messages.filter(
      (m) => !shown.has(m.id) && !known.has(m.id) && !(oldest && m.createdAt < oldest.createdAt),
    )
    for (const m of room.messages) {
      // the history does not have what the stream said about them
      const same = history.items.find((other) => other.id === m.id)
      if (same) Object.assign(same, said(m))
    }
    room.messages = [...history.items.reverse(), ...meanwhile]
    room.earlier = history.next
    if (!before) room.newFrom = firstNew(id, room.messages)
    room.loaded = true
    lookForWork()
  } catch (problem) {
    if (store.room !== room) return
    Object.assign(room, { problem: asProblem(problem), details: null, messages: [], loaded: false, earlier: null })
    await lookFromOutside(room)
  }
  changed('room', 'messages', 'channels')
}

// said returns what only the stream, or the answer to a post, says about a message.
function said({ number, wakeup, wakeReason, wakeups, wakeupCount }) {
  return { number, wakeup, wakeReason, wakeups, wakeupCount }
}

let loads = 0 // pages of the history that are being loaded
const changes = new Map() // by id: the new states of messages that changed meanwhile

async function loadHistory(id, before, limit = pageSize) {
  loads++
  try {
    const page = await api('GET', `channels/${id}/messages?limit=${limit}${before ? `&before=${before}` : ''}`)
    for (const m of page.items) learn(m.authorUserId, m.authorKind, m.authorName)
    await prepare(page.items)
    const items = page.items.map((m) => (changes.has(m.id) ? { ...changes.get(m.id), ...said(m) } : m))
    return { ...page, items }
  } finally {
    if (--loads === 0) changes.clear()
  }
}

// The details of a channel are visible to non-members, unless the channel is private.
async function lookFromOutside(room) {
  if (room.problem.code !== 'not_member') return
  try {
    setDetails(room, await api('GET', `channels/${room.id}`))
  } catch {
    /* the problem says enough */
  }
}

function setDetails(room, details) {
  room.details = details
  room.channel = Object.assign(room.channel ?? {}, details.channel)
  if (store.channels.has(room.id)) store.channels.set(room.id, room.channel)
  partner(room.channel, details.members)
}

let reloading
// reload loads the open channel's members, duty and turn again, after a short pause that collects changes.
export function reload() {
  clearTimeout(reloading)
  reloading = setTimeout(async () => {
    const room = store.room
    if (!room) return
    try {
      const known = room.details?.members.length ?? 0
      const details = await api('GET', `channels/${room.id}`)
      if (store.room !== room) return
      setDetails(room, details)
      while (store.room === room && room.details.members.length < known && unloaded(room.details)) await loadMembers()
    } catch {
      /* the next change or the next open tries again */
    }
    changed('room', 'channels')
  }, 150)
}

// loadEarlier loads the page before the first message, and resolves to the number of messages that it added.
export async function loadEarlier(limit) {
  const room = store.room
  const { items, next } = await loadHistory(room.id, room.earlier, limit)
  if (store.room !== room) return 0
  const shown = new Set(room.messages.map((m) => m.id))
  const older = items.filter((m) => !shown.has(m.id)).reverse()
  room.messages = [...older, ...room.messages]
  room.earlier = next
  changed('messages')
  return older.length
}

// showAt loads the open channel back to a message, and resolves to true if the message is there. If the message is
// too far back, it shows the message with those before it, apart from the newest.
export async function showAt(messageId) {
  const room = store.room
  const there = () => store.room === room && room.messages.some((m) => m.id === messageId)
  while (!there() && store.room === room && room.earlier && room.messages.length < keptMessages) await loadEarlier(200)
  if (there() || store.room !== room || !room.earlier) return there()
  const { message } = await api('GET', `messages/${messageId}`)
  const { items, next } = await loadHistory(room.id, messageId)
  if (store.room !== room || message.channelId !== room.id) return false
  learn(message.authorUserId, message.authorKind, message.authorName)
  Object.assign(room, { messages: [...items.reverse(), message], earlier: next, apart: true })
  changed('messages', 'room')
  return true
}

// missing counts the messages of the history's latest page that this page does not show. It resolves to null if
// that proves nothing: in triage the stream leaves out messages.
export async function missing() {
  const room = store.room
  if (!room?.loaded || room.apart || room.channel.xType === 'triage') return null
  const { items } = await loadHistory(room.id)
  await new Promise((resolve) => setTimeout(resolve, 1000)) // the stream may still be bringing some
  return store.room === room ? items.filter((m) => !room.messages.some((shown) => shown.id === m.id)).length : null
}

// unloaded returns how many members of a channel the page does not know.
export function unloaded({ members, memberCount, after }) {
  return after === null ? 0 : Math.max(0, memberCount - members.length)
}

// loadMembers adds the next page of members.
export async function loadMembers() {
  const { details, id } = store.room
  const shown = new Set(details.members.map((m) => m.userId))
  let others = []
  while (others.length === 0 && details.after !== null) {
    // the first page has the members that the details of a channel have
    const after = details.after ? `&after=${details.after}` : ''
    const { items, next } = await api('GET', `channels/${id}/members?limit=200${after}`)
    others = items.filter((m) => !shown.has(m.userId))
    details.after = next
  }
  for (const m of others) learn(m.userId, m.authorKind, m.authorName)
  details.members.push(...others)
  changed('room')
}

// arrive shows a new message of the stream, if its channel is open.
export function arrive(message, number) {
  const room = store.room
  if (room?.id !== message.channelId) return
  if (room.apart) changed('messages')
  else insert(room, { ...message, number })
  for (const call of arrivals) call(message)
}

// posted shows the user's new message before the stream brings it, with the members whom it woke.
export function posted({ message, cursor, wakeups, wakeupCount }) {
  const { room } = store
  if (room?.id !== message.channelId) return
  if (room.apart) return open(room.id)
  insert(room, { ...message, number: Number(cursor.split('.')[1]), wakeups, wakeupCount })
}

// insert puts a message in the order of the event log, by the number of its event. Messages of the history have no
// number: they are older. A changed message is a new object, so that patch sees the change.
function insert(room, message) {
  const { messages } = room
  const at = messages.findIndex((m) => m.id === message.id)
  if (at >= 0) {
    if (messages[at].wakeups)
      messages[at].number = message.number // the user's own message: the stream adds only the number
    else messages[at] = { ...messages[at], ...message }
  } else {
    let end = messages.length
    while (end > 0 && messages[end - 1].number > message.number) end--
    messages.splice(end, 0, message)
  }
  if (messages.length > keptMessages) {
    room.messages = messages.slice(-keptMessages)
    room.earlier = room.messages[0].id
  }
  if (message.turnUserId && room.details?.turn) room.details.turn.userId = message.turnUserId
  changed('messages', 'room')
}

// replace shows a message's new state, from an answer or from the stream.
export function replace(message) {
  const { room } = store
  if (loads > 0) changes.set(message.id, message)
  const at = room?.messages.findIndex((m) => m.id === message.id) ?? -1
  if (at < 0) return
  room.messages[at] = { ...message, ...said(room.messages[at]) }
  changed('messages')
}
