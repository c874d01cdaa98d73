import { changed, store } from './store.js'

// How many messages of each channel the user has not read.

// count counts a new message, unless the user is looking at its channel.
export function count(message) {
  if (message.authorUserId === store.me.userId) return
  if (store.room?.id === message.channelId && !document.hidden) return
  const news = store.news.get(message.channelId) ?? { count: 0, woken: 0 }
  store.news.set(message.channelId, { count: news.count + 1, woken: news.woken + (message.wakeup ? 1 : 0) })
  changed('channels')
}

// seen marks the messages of the open channel as read.
export function seen() {
  if (store.room && store.news.delete(store.room.id)) changed('channels')
}
