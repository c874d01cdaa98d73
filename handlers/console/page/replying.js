import { $, bare, button, el, written } from './dom.js'
import { excerpt } from './replies.js'
import { store, watch } from './store.js'
import { userName } from './users.js'

// The message that the user is about to answer, above the text box.

let to = null // a message

watch('room', () => {
  if (to && to.channelId !== store.room?.id) answer(null)
})

// answer begins a reply to a message. null ends it.
export function answer(message) {
  to = message
  const bar = $('replying')
  bar.hidden = !to
  if (!to) return bar.replaceChildren()
  const name = userName(to.authorUserId)
  bar.replaceChildren(
    el('span', {}, 'Your answer to ', written(name), ': ', written(excerpt(to.content ?? ''))),
    button('✕', { class: 'quiet', 'aria-label': `Do not answer ${bare(name)}` }, () => {
      answer(null)
      $('text').focus()
    }),
  )
  $('text').focus()
}

// answered returns the id of that message, or undefined.
export function answered() {
  return to?.id
}
