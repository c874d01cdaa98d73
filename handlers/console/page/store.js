import { api, Problem } from './api.js'
import { compare } from './stream.js'

// The store holds what this tab knows: a snapshot, and all that the stream has brought since.
export const store = {
  me: null, // {userId}
  cursor: null, // the position of the snapshot and of the frames since; null: no snapshot yet
  channels: new Map(), // the user's, by id
  news: new Map(), // by channel id: {count, woken} of the messages since it was last open
  room: null, // the open channel; see open
  frames: [], // the latest frames, newest first: {event, id, at}
  status: null, // of the stream (see stream.js), with the number of tabs that share it
}

const pageSize = 50
const keptMessages = 1000 // on the page; older ones are in the history

// Views watch topics: channels, room, messages, stream. Changes are collected, and each view is called once.
const watchers = new Map()
const due = new Set()
export function watch(topic, call) {
  watchers.set(topic, [...(watchers.get(topic) ?? []), call])
}
export function changed(...topics) {
  if (due.size === 0) setTimeout(tellWatchers, 16)
  for (const topic of topics) due.add(topic)
}
function tellWatchers() {
  const topics = [...due]
  due.clear()
  for (const call of topics.flatMap((topic) => watchers.get(topic) ?? [])) call()
}

const arrivals = []
// onArrival adds a function that is called for each new message of the open channel.
export function onArrival(call) {
  arrivals.push(call)
}

// snapshot loads everything again: at the start, and when the stream cannot continue.
export async function snapshot() {
  store.cursor = null
  const { cursor, userId, channels } = await api('GET', 'sync')
  if (store.me && store.me.userId !== userId) return location.reload() // nothing of another user may stay
  store.me = { userId }
  store.cursor = cursor
  store.channels = new Map(channels.map((c) => [c.id, c]))
  for (const c of channels) nameDM(c)
  changed('channels')
  if (store.room) open(store.room.id)
}

// A dm has no name. The page shows the other member's id.
async function nameDM(channel) {
  if (channel.xType !== 'dm' || channel.with) return
  try {
    const { members } = await api('GET', `channels/${channel.id}`)
    channel.with = members.map((m) => m.userId).find((u) => u !== store.me.userId)
    changed('channels', 'room')
  } catch {
    /* it is shown without a name */
  }
}

export function nameOf(channel) {
  return channel.xType === 'dm' ? (channel.with ?? 'direct message') : channel.name
}

// open opens a channel and loads it. null closes the open one.
export async function open(id) {
  if (!id) {
    store.room = null
    return changed('room', 'messages', 'channels')
  }
  const before = store.room?.id === id ? store.room : null // shown until the new data is loaded
  const room = {
    id,
    channel: store.channels.get(id) ?? before?.channel ?? null,
    details: before?.details ?? null,
    problem: null,
    messages: before?.messages ?? [],
    loaded: before?.loaded ?? false,
    earlier: before?.earlier ?? null, // id of the oldest message, if there are older ones
  }
  const known = new Set(room.messages.map((m) => m.id))
  store.room = room
  store.news.delete(id)
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
      if (same)
        Object.assign(same, {
          number: m.number,
          wakeup: m.wakeup,
          wakeReason: m.wakeReason,
          wakeups: m.wakeups,
          wakeupCount: m.wakeupCount,
        })
    }
    room.messages = [...history.items.reverse(), ...meanwhile]
    room.earlier = history.next
    room.loaded = true
  } catch (problem) {
    if (store.room !== room) return
    Object.assign(room, { problem: asProblem(problem), details: null, messages: [], loaded: false, earlier: null })
    await lookFromOutside(room)
  }
  changed('room', 'messages', 'channels')
}

function loadHistory(id, before) {
  return api('GET', `channels/${id}/messages?limit=${pageSize}${before ? `&before=${before}` : ''}`)
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
  if (room.channel.xType === 'dm')
    room.channel.with = details.members.map((m) => m.userId).find((u) => u !== store.me.userId)
}

let reloading
// reload loads the open channel's members, duty and turn again, after a short pause that collects changes.
export function reload() {
  clearTimeout(reloading)
  reloading = setTimeout(async () => {
    const room = store.room
    if (!room) return
    try {
      const details = await api('GET', `channels/${room.id}`)
      if (store.room === room) setDetails(room, details)
    } catch {
      /* the next change or the next open tries again */
    }
    changed('room', 'channels')
  }, 150)
}

// loadEarlier loads the page before the first message, and resolves to the number of messages that it added.
export async function loadEarlier() {
  const room = store.room
  const { items, next } = await loadHistory(room.id, room.earlier)
  if (store.room !== room) return 0
  const shown = new Set(room.messages.map((m) => m.id))
  const older = items.filter((m) => !shown.has(m.id)).reverse()
  room.messages = [...older, ...room.messages]
  room.earlier = next
  changed('messages')
  return older.length
}

// missing counts the messages of the history's latest page that this page does not show. It resolves to null if
// that proves nothing: in triage the stream leaves out messages.
export async function missing() {
  const room = store.room
  if (!room?.loaded || room.channel.xType === 'triage') return null
  const { items } = await loadHistory(room.id)
  await new Promise((resolve) => setTimeout(resolve, 1000)) // the stream may still be bringing some
  return store.room === room ? items.filter((m) => !room.messages.some((shown) => shown.id === m.id)).length : null
}

// loadMembers adds the next page of members.
export async function loadMembers() {
  const { details, id } = store.room
  const { items, next } = await api(
    'GET',
    `channels/${id}/members?limit=200${details.after ? `&after=${details.after}` : ''}`,
  )
  const shown = new Set(details.members.map((m) => m.userId))
  details.members.push(...items.filter((m) => !shown.has(m.userId)))
  details.after = next
  changed('room')
}

// apply applies a frame of the stream. Frames come once and in order. It ignores those that the snapshot includes.
export function apply({ event, id, data }) {
  if (!store.cursor || compare(id, store.cursor) <= 0) return
  store.cursor = id
  store.frames = [{ event, id, at: Date.now() }, ...store.frames].slice(0, 12)
  changed('stream')
  const here = store.room?.id === data.channelId
  switch (event) {
    case 'channel.joined':
      adopt(data)
      break
    case 'channel.left':
      store.channels.delete(data.channelId)
      store.news.delete(data.channelId)
      if (here) open(data.channelId) // shows what a non-member may see
      break
    case 'channel.updated':
      Object.assign(store.channels.get(data.channelId) ?? {}, { name: data.name })
      break
    case 'channel.archived':
      Object.assign(store.channels.get(data.channelId) ?? {}, { archivedAt: data.occurredAt })
      break
    case 'message.created':
      return arrive(data, Number(id.split('.')[1]))
    case 'message.updated':
    case 'message.deleted':
      return replace(data)
  }
  if (here && event !== 'channel.left') reload()
  if (event.startsWith('channel.')) changed('channels', 'room')
}

// adopt adds a channel to the list at once with what is known, and loads the rest.
export async function adopt({ channelId, guildId, name, xType }) {
  if (!store.channels.has(channelId)) store.channels.set(channelId, { id: channelId, guildId, name, xType })
  changed('channels')
  try {
    const { channel } = await api('GET', `channels/${channelId}`)
    if (!store.channels.has(channelId)) return // the user has left it again
    Object.assign(store.channels.get(channelId), channel)
    nameDM(store.channels.get(channelId))
    changed('channels')
  } catch {
    /* the list shows its name and kind */
  }
  if (store.room?.id === channelId && store.room.problem) open(channelId)
}

function arrive(message, number) {
  const room = store.room
  if (room?.id !== message.channelId || document.hidden) count(message)
  if (room?.id !== message.channelId) return
  insert(room, { ...message, number })
  for (const call of arrivals) call(message)
}

function count(message) {
  if (message.authorUserId === store.me.userId) return
  const news = store.news.get(message.channelId) ?? { count: 0, woken: 0 }
  store.news.set(message.channelId, { count: news.count + 1, woken: news.woken + (message.wakeup ? 1 : 0) })
  changed('channels')
}

// seen marks the messages of the open channel as read.
export function seen() {
  if (store.room && store.news.delete(store.room.id)) changed('channels')
}

// posted shows the user's new message before the stream brings it, with the members whom it woke.
export function posted({ message, cursor, wakeups, wakeupCount }) {
  if (store.room?.id === message.channelId)
    insert(store.room, { ...message, number: Number(cursor.split('.')[1]), wakeups, wakeupCount })
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
  const at = room?.messages.findIndex((m) => m.id === message.id) ?? -1
  if (at < 0) return
  const { number, wakeReason, wakeups, wakeupCount, wakeup } = room.messages[at]
  room.messages[at] = { ...message, number, wakeReason, wakeups, wakeupCount, wakeup }
  changed('messages')
}

export function asProblem(problem) {
  if (problem instanceof Problem) return problem
  console.error(problem)
  return new Problem({ status: 0, code: 'fault', detail: 'Something went wrong on this page. Reload it' })
}
