import { api } from './api.js'
import { $, button, el, tell, written } from './dom.js'
import { plain } from './mentions.js'
import { asProblem, nameOf, partner, store } from './store.js'
import { agentMark, learn, who } from './users.js'

// Searching messages. A hit leads to the message in its place.

const dialog = $('search-hits')
const hits = $('hits')
const mostPages = 20 // that one search reads before it asks whether to go on: a page may be empty
let running = 0 // the number of the latest search

$('search').addEventListener('submit', (e) => {
  e.preventDefault()
  const q = $('search-text').value.trim()
  if (!q) return $('search-text').focus()
  hits.replaceChildren()
  $('hits-for').replaceChildren(written(q))
  $('more-hits').replaceChildren()
  tell($('search-problem'), '')
  dialog.showModal()
  running++
  search(q, null, running).catch(failed)
})
dialog.addEventListener('close', () => {
  running++
})
hits.addEventListener('click', (e) => {
  if (e.target.closest('a')) dialog.close()
})

const failed = (problem) => {
  tell($('search-status'), '')
  tell($('search-problem'), asProblem(problem).text)
}

async function search(q, before, run) {
  tell($('search-status'), 'Searching …')
  let found = 0
  let next = before
  for (let page = 0; page < mostPages && found === 0; page++) {
    const answer = await api('GET', `search?${new URLSearchParams({ q, ...(next && { before: next }) })}`)
    if (run !== running) return // closed, or another search
    found += answer.items.length
    next = answer.next
    hits.append(...answer.items.map(hit))
    if (!next) break
  }
  $('more-hits').replaceChildren(
    ...(next ? [button('Look further back', { class: 'quiet' }, () => search(q, next, run), failed)] : []),
  )
  if (!before) hits.querySelector('a')?.focus()
  const none = next ? 'Nothing was found so far.' : 'Nothing was found.'
  tell($('search-status'), hits.children.length === 0 ? none : '')
}

function hit({ channel, message, snippet }) {
  learn(message.authorUserId, message.authorKind, message.authorName)
  const known = store.channels.get(channel.id) ?? channel
  if (known.xType === 'dm' && !known.with && message.authorUserId !== store.me.userId)
    partner(known, [{ userId: message.authorUserId }])
  return el(
    'li',
    {},
    el(
      'a',
      { href: `#/${channel.id}/${message.id}` },
      el(
        'span',
        { class: 'hit-about' },
        el('strong', {}, written(nameOf(known))),
        who(message.authorUserId),
        agentMark(message.authorUserId),
        el(
          'time',
          { datetime: message.createdAt },
          new Date(message.createdAt).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' }),
        ),
      ),
      el(
        'span',
        { class: 'snippet', dir: 'auto' },
        ...snippet.map((part) => (part.hit ? el('mark', {}, part.text) : plain(part.text))),
      ),
    ),
  )
}
