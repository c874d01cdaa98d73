import { api } from './api.js'
import { $ } from './dom.js'
import { store } from './store.js'

// Tells the other members that the user types.

const every = 4_000 // milliseconds between two tellings
const holds = 8 // seconds that one telling holds

let told = null // {channelId, at} of the latest telling that still holds

$('text').addEventListener('input', (e) => {
  const { room } = store
  if (!room?.loaded || store.status?.state !== 'live') return
  if (e.target.value === '' || e.target.value.startsWith('/')) return stop()
  if (told?.channelId === room.id && Date.now() - told.at < every) return
  told = { channelId: room.id, at: Date.now() }
  tellAs(room.id, 'typing')
})
$('text').addEventListener('blur', stop)
$('composer').addEventListener('submit', () => {
  told = null // the message ends it
})

function stop() {
  if (told && Date.now() - told.at < holds * 1000) tellAs(told.channelId, 'idle')
  told = null
}

async function tellAs(channelId, kind) {
  try {
    await api('POST', `channels/${channelId}/activity`, { body: { kind, ttlSeconds: holds } })
  } catch {
    /* nobody needs to know */
  }
}
