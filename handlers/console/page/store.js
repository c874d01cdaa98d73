import { api, Problem } from './api.js'
import { learn, userName } from './users.js'

// The store holds what this tab knows: a snapshot, and all that the stream has brought since.
export const store = {
  me: null, // {userId, kind, displayName}
  cursor: null, // the position of the snapshot and of the frames since; null: no snapshot yet
  channels: new Map(), // the user's, by id
  news: new Map(), // by channel id: {count, woken, last} of the messages that the user has not read
  room: null, // the open channel; see room.js
  frames: [], // the latest frames, newest first: {event, id, at}
  status: null, // of the stream (see stream.js), with the number of tabs that share it
}

// Views watch topics: me, users, channels, room, messages, queue, doing, stream. Changes are collected, and each
// view is called once.
const watchers = new Map()
const due = new Set()
export function watch(topics, call) {
  for (const topic of topics.split(' ')) watchers.set(topic, [...(watchers.get(topic) ?? []), call])
}
export function changed(...topics) {
  if (due.size === 0) setTimeout(tellWatchers, 16)
  for (const topic of topics) due.add(topic)
}
function tellWatchers() {
  const topics = [...due]
  due.clear()
  for (const call of new Set(topics.flatMap((topic) => watchers.get(topic) ?? []))) call()
}

const parts = []
// onSnapshot adds a function that is called after each new snapshot.
export function onSnapshot(call) {
  parts.push(call)
}

// snapshot loads everything again: at the start, and when the stream cannot continue.
export async function snapshot() {
  store.cursor = null
  const [me, { cursor, userId, channels }] = await Promise.all([api('GET', 'me'), api('GET', 'sync?unread=true')])
  if (store.me && store.me.userId !== userId) return location.reload() // nothing of another user may stay
  setMe(me)
  store.cursor = cursor
  store.channels = new Map(channels.map((c) => [c.id, c]))
  for (const c of channels) nameDM(c)
  changed('channels')
  for (const call of parts) call()
}

// setMe takes what the server says about the user.
export function setMe({ userId, kind, displayName }) {
  store.me = { userId, kind, displayName }
  learn(userId, kind, displayName)
  changed('me')
}

// A dm has no name. The page shows the other member.
async function nameDM(channel) {
  if (channel.xType !== 'dm' || channel.with) return
  try {
    const { members } = await api('GET', `channels/${channel.id}`)
    partner(channel, members)
    changed('channels', 'room')
  } catch {
    /* it is shown without a name */
  }
}

// partner keeps who the other member of a dm is.
export function partner(channel, members) {
  for (const m of members) learn(m.userId, m.authorKind, m.authorName)
  if (channel.xType === 'dm') channel.with = members.map((m) => m.userId).find((u) => u !== store.me.userId)
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
}

// nameOf returns what a channel is called. A dm is called after its other member.
export function nameOf(channel) {
  return channel.xType === 'dm' ? (channel.with ? userName(channel.with) : 'direct message') : channel.name
}

export function asProblem(problem) {
  if (problem instanceof Problem) return problem
  console.error(problem)
  return new Problem({ status: 0, code: 'fault', detail: 'Something went wrong on this page. Reload it' })
}
