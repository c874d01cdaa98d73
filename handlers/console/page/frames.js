import { did, ended } from './doing.js'
import { trip } from './guard.js'
import { refresh, worth } from './queue.js'
import { rewritten } from './replies.js'
import { arrive, open, reload, replace } from './room.js'
import { adopt, changed, store } from './store.js'
import { compare } from './stream.js'
import { count, readElsewhere } from './unread.js'
import { learn } from './users.js'
import { died, state } from './work.js'

// What each frame of the stream changes on this page.

// apply applies a frame. Those of the event log come once and in order; it ignores those that the snapshot includes.
export function apply({ event, id, data }) {
  if (!store.cursor) return
  if (id === null) return pass(event, data)
  if (compare(id, store.cursor) <= 0) return
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
      ended(data.channelId, data.authorUserId)
      count(data)
      if (worth(data)) refresh()
      return arrive(data, Number(id.split('.')[1]))
    case 'message.updated':
    case 'message.deleted':
      learn(data.authorUserId, data.authorKind, data.authorName)
      rewritten(data)
      return replace(data)
    case 'member.left':
      ended(data.channelId, data.userId)
      break
    case 'wake.dead':
      return died(data)
    case 'guard.tripped':
      return trip(data)
  }
  if (here && event !== 'channel.left') reload()
  if (event.startsWith('channel.')) changed('channels', 'room')
}

// pass applies what is not in the event log.
function pass(event, data) {
  switch (event) {
    case 'activity':
      return did(data)
    case 'wake.state':
      return state(data)
    case 'channel.read':
      return readElsewhere(data)
  }
}
