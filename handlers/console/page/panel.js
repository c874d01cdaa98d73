import { $, announce, el } from './dom.js'
import { send } from './link.js'
import { missing, store, watch } from './store.js'

// The live stream's panel: where it is, whether it lives, and what a resume brings.

const words = {
  connecting: 'Connecting',
  'catching up': 'Catching up',
  live: 'Live',
  waiting: 'Reconnecting',
  cut: 'Cut',
  closed: 'Closed',
}
const resets = {
  expired: 'the log no longer reaches back that far',
  unknown_epoch: 'the position is of another database',
  lost_tail: 'the database came back without the latest events',
  beyond_end: 'the position is beyond the end of the log',
}

let before = null
let askedFor = false // a resume, by the button
let checked = '' // what the comparison after it said

watch('stream', render)
setInterval(() => {
  if (store.status && !document.hidden) render()
}, 1000)

function render() {
  const s = store.status
  const state = s?.state ?? 'connecting'
  const word = words[state]
  $('stream-state').textContent = word
  $('pill-state').textContent = word
  $('pill').dataset.state = $('stream').dataset.state = state
  if (!s) return
  $('stream-reason').textContent = reason(s)
  $('stream-reason').hidden = !$('stream-reason').textContent
  $('cursor').textContent = store.cursor && s.state !== 'cut' ? store.cursor : s.cursor
  $('heartbeat').textContent = s.seenAt ? `${age(s.seenAt)} ago` : 'nothing yet'
  $('tabs').textContent = s.tabs === 1 ? 'this one only' : `${s.tabs} on one stream`
  const cut = $('cut')
  cut.textContent = s.state === 'cut' ? 'Resume the stream' : s.state === 'waiting' ? 'Reconnect now' : 'Cut the stream'
  renderResume(s)
  $('frames').replaceChildren(
    ...store.frames.map((f) => el('li', {}, el('code', {}, f.event), ' ', el('span', {}, f.id.split('.')[1]))),
  )
  if (before && before !== word && (state === 'live' || before === words.live)) announce(`The stream: ${word}`)
  before = word
}

function reason(s) {
  if (s.state === 'waiting')
    return `${s.reason}. Again in ${Math.max(0, Math.ceil((s.retryAt - Date.now()) / 1000))} s.`
  if (s.state === 'cut') return 'You have cut it. What happens now is not lost: it comes with the resume.'
  if (s.state === 'live' && s.reset && Date.now() - s.reset.at < 60_000)
    return `Begun anew, for ${resets[s.reset.reason] ?? s.reset.reason}.`
  return ''
}

function renderResume(s) {
  const r = s.resume
  const told = r && r.took !== null && s.connections > 1 && s.state === 'live'
  $('resumed').hidden = !told
  if (!told) return
  const text =
    `Resumed after ${r.from.split('.')[1]}: ${r.backlog === 1 ? '1 event' : `${r.backlog} events`} in the backlog, ` +
    `${r.doubled === 0 ? 'none' : r.doubled} doubled, in ${r.took} ms.`
  $('resumed').textContent = `${text} ${checked}`
  if (askedFor) check(text)
}

// check holds the open channel against its history, after a resume that was asked for.
async function check(text) {
  askedFor = false
  try {
    const count = await missing()
    if (count !== null)
      checked =
        count === 0
          ? 'Compared with the history: nothing is missing.'
          : `Compared with the history: ${count} are missing.`
  } catch {
    /* then it is not compared */
  }
  announce(`${text} ${checked}`)
  render()
}

function age(then) {
  const seconds = Math.max(0, Math.round((Date.now() - then) / 1000))
  return seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`
}

$('cut').addEventListener('click', () => {
  const state = store.status?.state
  askedFor = state === 'cut'
  checked = ''
  send(state === 'cut' ? { resume: true } : state === 'waiting' ? { hurry: true } : { cut: true })
})
