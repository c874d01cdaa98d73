import { api, onSignedOut } from './api.js'
import './archive.js'
import './channels.js'
import { focus } from './composer.js'
import './details.js'
import { go } from './dialogs.js'
import { $, tell } from './dom.js'
import { apply } from './frames.js'
import * as link from './link.js'
import { reveal } from './messages.js'
import './panel.js'
import './profile.js'
import './queue.js'
import { open } from './room.js'
import './search.js'
import { asProblem, changed, snapshot, store } from './store.js'
import './typing.js'

// The page has two states: the sign-in form, and the app.

// memory remembers that there is a session cookie, which scripts cannot see. A browser may refuse to store
// anything: then the page asks for the token again.
const memory = {
  name: `fabric-guild signed in ${new URL('.', location.href).pathname}`,
  get here() {
    try {
      return Boolean(localStorage.getItem(this.name))
    } catch {
      return false
    }
  },
  keep() {
    try {
      localStorage.setItem(this.name, 'yes')
    } catch {
      /* the next visit asks for the token again */
    }
  },
  drop() {
    try {
      localStorage.removeItem(this.name)
    } catch {
      /* nothing is stored */
    }
  },
}
let starting = false

// start takes a snapshot and follows the stream from there. It retries until the server answers.
async function start() {
  if (starting) return
  starting = true
  try {
    await snapshotAtLast()
  } finally {
    starting = false
  }
  if (!store.cursor) return // not signed in, or another user: the page reloads
  memory.keep()
  $('sign-in').hidden = true
  $('app').hidden = false
  link.send({ follow: from() })
  if (!store.room) route()
}

async function snapshotAtLast() {
  const waiting = setTimeout(() => stuck('Waiting for the server …'), 1000)
  for (let wait = 1000; ; wait = Math.min(2 * wait, 30_000)) {
    try {
      await snapshot()
      return tell($('trouble'), '')
    } catch (problem) {
      if (problem.status === 401) return
      stuck(`${asProblem(problem).text}. Next attempt in ${Math.round(wait / 1000)} s.`)
      await new Promise((resolve) => setTimeout(resolve, wait))
    } finally {
      clearTimeout(waiting)
    }
  }
}

function stuck(why) {
  $('sign-in').hidden = true
  $('app').hidden = false
  tell($('trouble'), why)
}

function from() {
  return store.cursor && { userId: store.me.userId, cursor: store.cursor }
}

// The browser drops the cookie about when the token expires. Whether the server then finds the expired token
// (token_expired) or no token at all (token_missing) is chance, so both have the same text.
const ended = 'Your session has ended. Sign in again.'
const revoked = 'Your token is no longer valid. Sign in with a new one.'

function askToSignIn(code) {
  memory.drop()
  for (const dialog of document.querySelectorAll('dialog[open]')) dialog.close()
  store.cursor = null
  store.status = null
  $('app').hidden = true
  $('sign-in').hidden = false
  tell($('sign-in-problem'), code === 'token_invalid' ? revoked : ended)
  document.title = 'Fabric Guild'
  $('token').focus()
}

onSignedOut((problem) => {
  if ($('sign-in').hidden) askToSignIn(problem.code)
})

$('sign-in')
  .querySelector('form')
  .addEventListener('submit', async (e) => {
    e.preventDefault()
    const token = $('token').value.trim()
    tell($('sign-in-problem'), '')
    if (!/^[\x21-\x7e]+$/.test(token)) {
      tell($('sign-in-problem'), 'A token must be one line without spaces.')
      return $('token').focus()
    }
    try {
      await api('POST', 'session', { token })
      await start()
      if (!store.cursor) {
        return tell(
          $('sign-in-problem'),
          'This browser did not keep the session. It may block cookies, or the token is too long for a cookie.',
        )
      }
      $('token').value = ''
      if (!store.room) $('new').focus()
    } catch (problem) {
      tell($('sign-in-problem'), asProblem(problem).text)
      $('token').select()
    }
  })

$('sign-out').addEventListener('click', async () => {
  try {
    await api('DELETE', 'session')
  } catch (problem) {
    return tell($('trouble'), `You are still signed in. ${asProblem(problem).text}`)
  }
  link.send({ signedOut: true })
  forget()
})

// forget reloads the page, so that nothing of this user stays in memory.
function forget() {
  memory.drop()
  history.replaceState(null, '', location.pathname)
  location.reload()
}

// take handles a message of the hub.
function take({ frame, status, gap, signedOut, user }) {
  if (frame) apply(frame)
  if (status) {
    if (status.state === 'live' && store.status?.state !== 'live') {
      tell($('trouble'), '')
      if (store.cursor && store.room?.problem?.passing) open(store.room.id) // the server answers again
    }
    store.status = status
    changed('stream')
  }
  if (gap && store.cursor) start()
  if (signedOut && $('sign-in').hidden) {
    if (signedOut === 'signed_out') forget()
    else askToSignIn(signedOut)
  }
  if (user && (user !== store.me?.userId || !$('sign-in').hidden)) start() // another tab has signed in
}

// The hash of the URL names the open channel and perhaps a message: #/CHANNEL or #/CHANNEL/MESSAGE. Narrow windows
// show one pane at a time.
async function route(again = false) {
  const [, id, message] = /^#\/([0-9a-f-]{36})(?:\/([0-9a-f-]{36}))?$/.exec(location.hash) ?? []
  show(id ? 'room' : 'nav')
  if (!id && store.room) {
    open(null)
    return $('new').focus()
  }
  if (!id) return
  const another = id !== store.room?.id
  const opened = (another || (again && !message)) && open(id)
  if (message) {
    await opened
    if (store.room?.id === id && store.room.loaded) await reveal(message)
    return
  }
  if (!opened) return
  if (matchMedia('(pointer: coarse)').matches)
    $('room-name').focus() // keeps the on-screen keyboard away from the messages
  else focus()
}

function show(pane) {
  $('app').dataset.pane = pane
}

addEventListener('hashchange', () => route())
addEventListener('click', (e) => {
  // A link to what the URL names already changes no hash. It opens the channel again.
  const link = e.target.closest('a[href^="#/"]')
  if (link && link.hash === location.hash && !e.ctrlKey && !e.metaKey && !e.shiftKey) route(true)
})
$('back').addEventListener('click', () => go(null))
$('show-details').addEventListener('click', () => {
  show('details')
  $('details').focus()
})
$('pill').addEventListener('click', () => {
  show('details')
  $('stream').scrollIntoView()
  $('stream').focus()
})
$('hide-details').addEventListener('click', () => {
  show('room')
  $('show-details').focus()
})

await link.open(take, from)
if (memory.here) {
  await start()
} else {
  $('sign-in').hidden = false
  $('token').focus()
}
