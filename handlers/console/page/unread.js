import { api } from './api.js'
import { atEnd } from './dom.js'
import { changed, onSnapshot, store } from './store.js'

// What the user has not read: a count for each channel, and a line in the open one. The server keeps a marker for each
// channel, so it is the same after a reload, in other tabs and on other devices.

const pause = 300 // milliseconds between two markers

let marking = false
let recounting = false

onSnapshot(() => take(store.channels.values()))

function take(channels) {
  for (const { id, unread, unreadWakes, readTo } of channels) {
    if (unread === undefined) continue
    if (store.channels.has(id)) store.channels.get(id).readTo = readTo
    if (unread > 0 && !looking(id)) store.news.set(id, { count: unread, woken: unreadWakes, last: null })
    else store.news.delete(id)
  }
  changed('channels')
}

function looking(channelId) {
  const { room } = store
  return room?.id === channelId && room.loaded && !room.apart && !document.hidden && atEnd()
}

// count counts a new message, unless the user is looking at the end of its channel.
export function count({ id, channelId, authorUserId, wakeup }) {
  if (authorUserId === store.me.userId || looking(channelId)) return
  const news = store.news.get(channelId) ?? { count: 0, woken: 0 }
  if (store.room?.id === channelId && news.count === 0) store.room.newFrom = id
  store.news.set(channelId, { count: news.count + 1, woken: news.woken + (wakeup ? 1 : 0), last: id })
  changed('channels')
}

// firstNew returns the id of the first message of a channel that the user has not read, or null if there is none, or
// if it is not among messages.
export function firstNew(channelId, messages) {
  const unread = store.news.get(channelId)?.count ?? 0
  if (unread === 0) return null
  const others = (from) => messages.slice(from).filter((m) => m.authorUserId !== store.me.userId && !m.deleted)
  const readTo = store.channels.get(channelId)?.readTo
  const at = messages.findIndex((m) => m.id === readTo)
  if (at >= 0) return others(at + 1)[0]?.id ?? null
  return others(0).at(-unread)?.id ?? null
}

// seen marks the messages of the open channel as read, up to the newest on the page.
export function seen() {
  const { room } = store
  if (!room?.loaded || room.apart || document.hidden) return
  if (store.news.delete(room.id)) changed('channels')
  if (marking || !store.channels.has(room.id) || !behind(room)) return
  marking = true
  mark(room)
}

// behind reports whether others have posted after the marker.
function behind({ id, messages }) {
  const at = messages.findLastIndex((m) => m.authorUserId !== store.me.userId)
  if (at < 0) return false
  const marked = messages.findIndex((m) => m.id === store.channels.get(id).readTo)
  return marked < at
}

async function mark(room) {
  const channel = store.channels.get(room.id)
  const before = channel.readTo
  channel.readTo = room.messages.at(-1).id
  let done = false
  try {
    await api('PUT', `channels/${room.id}/read`, { body: { messageId: channel.readTo } })
    done = true
  } catch {
    channel.readTo = before // what is read next tries again
  }
  setTimeout(() => {
    marking = false
    if (done) changed('messages') // what came meanwhile may have been read too
  }, pause)
}

// readElsewhere takes what was read in another tab or on another device.
export function readElsewhere({ channelId, readTo }) {
  const channel = store.channels.get(channelId)
  if (channel) channel.readTo = readTo
  const news = store.news.get(channelId)
  if (!news) return
  if (news.last === readTo) {
    store.news.delete(channelId)
    changed('channels')
  } else if (!recounting) {
    recounting = true
    setTimeout(recount, 3 * pause)
  }
}

// recount asks the server for the counts. The page does not know the messages of channels that are not open.
async function recount() {
  recounting = false
  try {
    let after = null
    do {
      const query = `channels?unread=true&limit=200${after ? `&after=${after}` : ''}`
      const { items, next } = await api('GET', query)
      take(items)
      after = next
    } while (after)
  } catch {
    /* the next message or the next load counts again */
  }
}
