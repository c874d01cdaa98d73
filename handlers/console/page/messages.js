import { $, announce, atEnd, button, patch, tell } from './dom.js'
import { closeTables, looks, make, spoken } from './message.js'
import { loadEarlier, onArrival, open, showAt } from './room.js'
import { asProblem, store, watch } from './store.js'
import { seen } from './unread.js'

// The list of messages, newest last.

const list = $('messages')
const scroller = $('scroller')
let unseen = 0 // messages that arrived below the visible part
let roomId = null
let apart = false // whether the list showed messages apart from the newest
let following = true // the end was in view when the user last scrolled up
let top = 0 // where the scroller was last

watch('messages users', render)
onArrival((message) => {
  const mine = message.authorUserId === store.me.userId
  if (!mine && (store.room.apart || !atEnd())) unseen++
  if (!mine) announce(spoken(message))
})
scroller.addEventListener('scroll', () => {
  if (atEnd()) following = true
  else if (scroller.scrollTop < top) following = false // otherwise the end has moved
  top = scroller.scrollTop
  if (atEnd()) showNewest(0)
})
// The text box, a draft or another window may take room. The end stays in view.
const resized = new ResizeObserver(() => {
  if (following && !store.room?.apart) toEnd()
})
resized.observe(scroller)
resized.observe($('drafts'))
$('newest').addEventListener('click', async () => {
  if (store.room.apart) await open(store.room.id)
  render()
  toEnd()
  $('log').focus()
})
$('earlier').replaceChildren(
  button(
    'Earlier messages',
    { class: 'quiet' },
    async (self) => {
      const [height, top] = [scroller.scrollHeight, scroller.scrollTop]
      const count = await loadEarlier()
      render()
      scroller.scrollTop = top + scroller.scrollHeight - height // the visible messages stay in place
      announce(`${count} earlier messages`)
      if (self.parentNode.hidden) $('log').focus()
    },
    (problem) => tell($('history-problem'), asProblem(problem).text),
  ),
)

function render() {
  const { room } = store
  const another = room?.id !== roomId
  const stick = another || (!room?.apart && (apart || atEnd()))
  apart = Boolean(room?.apart)
  if (another) {
    roomId = room?.id ?? null
    tell($('history-problem'), '')
    unseen = 0
    closeTables()
  }
  const messages = room?.messages ?? []
  $('earlier').hidden = !room?.earlier
  $('nothing').hidden = !room?.loaded || messages.length > 0
  $('apart').hidden = !room?.apart
  patch(
    list,
    messages.map((m, i) => looks(m, messages[i - 1])),
    ({ message }) => message.id,
    make,
  )
  if (stick) toEnd()
  else showNewest(unseen)
}

// reveal brings a message of the open channel into view, and loads it if need be.
export async function reveal(messageId) {
  const { room } = store
  try {
    const found = await showAt(messageId)
    if (store.room !== room) return
    render()
    const node = list.querySelector(`[data-id="${messageId}"]`)
    if (!found || !node)
      return tell($('history-problem'), 'This message cannot be shown: it is not one that you may see.')
    node.scrollIntoView({ block: 'center' })
    node.focus({ preventScroll: true })
    node.classList.add('revealed')
    node.addEventListener('blur', () => node.classList.remove('revealed'), { once: true })
  } catch (problem) {
    tell($('history-problem'), asProblem(problem).text)
  }
}

function toEnd() {
  following = true
  scroller.scrollTop = scroller.scrollHeight
  top = scroller.scrollTop
  showNewest(0)
}

function showNewest(count) {
  const apart = Boolean(store.room?.apart)
  unseen = apart ? unseen : count
  $('newest').hidden = count === 0 && !apart
  $('newest').textContent =
    count === 0 ? 'Newest messages ↓' : count === 1 ? 'A new message ↓' : `${count} new messages ↓`
  if (count === 0 && !apart && !document.hidden) seen()
}
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && atEnd()) showNewest(0)
})
