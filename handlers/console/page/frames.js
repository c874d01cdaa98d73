import { refresh, worth } from './queue.js'
import { arrive, open, reload, replace } from './room.js'
import { adopt, changed, store } from './store.js'
import { compare } from './stream.js'
import { count } from './unread.js'
import { learn } from './users.js'
import { died } from './work.js'

// What each frame of the stream changes on this page.

// apply applies a frame of the event log. Frames come once and in order. It ignores those that the snapshot
// includes.
export function apply({ event, id, data }) {
  if (!store.cursor || compare(id, store.cursor) <= 0) return
  store.cursor = id
  store.frames = [{ event, id, at: Date.now() }, ...store.frames].slice(0, 12)
  changed('stream')
  const here = store.room?.id === data.channelId
  switch (event) {
    case 'channel.joined':
      adopt(data).then(() => {
        if (store.room?.id === data.channelId && store.room.problem) open(data.channelId)
      })
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
      learn(data.authorUserId, data.authorKind, data.authorName)
      count(data)
      if (worth(data)) refresh()
      return arrive(data, Number(id.split('.')[1]))
    case 'message.updated':
    case 'message.deleted':
      learn(data.authorUserId, data.authorKind, data.authorName)
      return replace(data)
    case 'wake.dead':
      return died(data)
  }
  if (here && event !== 'channel.left') reload()
  if (event.startsWith('channel.')) changed('channels', 'room')
}
