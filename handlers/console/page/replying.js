import { $, bare, button, el, written } from './dom.js'
import { excerpt } from './replies.js'
import { store, watch } from './store.js'
import { userName } from './users.js'

// The message that the user is about to answer, above the text box.

let to = null // a message

watch('room', () => {
  if (to && to.channelId !== store.room?.id) answer(null)
})
watch('messages', () => {
  const now = to && store.room?.messages.find((m) => m.id === to.id)
  if (now && now !== to) show(now) // it was edited or deleted
})

// answer begins a reply to a message. null ends it.
export function answer(message) {
  show(message)
  if (message) $('text').focus()
}

function show(message) {
  to = message
  const bar = $('replying')
  bar.hidden = !to
  if (!to) return bar.replaceChildren()
  const name = userName(to.authorUserId)
  bar.replaceChildren(
    el('span', {}, 'Your answer to ', written(name), ': ', to.deleted ? 'deleted' : written(excerpt(to.content ?? ''))),
    button('✕', { class: 'quiet', 'aria-label': `Do not answer ${bare(name)}` }, () => {
      answer(null)
      $('text').focus()
    }),
  )
}

// answered returns the id of that message, or undefined.
export function answered() {
  return to?.id
}
