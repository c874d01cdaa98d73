import { $, announce, el } from './dom.js'
import { send } from './link.js'
import { missing } from './room.js'
import { store, watch } from './store.js'

// The panel of the live stream: its position, its state, and the result of a resume.

const words = {
  connecting: 'Connecting',
  'catching up': 'Catching up',
  live: 'Live',
  waiting: 'Reconnecting',
  cut: 'Cut',
  closed: 'Closed',
}
const resets = {
  expired: 'the server no longer keeps the events after that position',
  unknown_epoch: 'the position belongs to another database',
  lost_tail: 'the database lost its latest events',
  beyond_end: 'the position is beyond the end of the event log',
}

let before = null
let askedFor = false // the user resumed by the button
let checked = '' // the result of the comparison after that resume

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
    return `${s.reason}. Next attempt in ${Math.max(0, Math.ceil((s.retryAt - Date.now()) / 1000))} s.`
  if (s.state === 'cut') return 'You cut the stream. Nothing is lost: the events arrive when you resume.'
  if (s.state === 'live' && s.reset && Date.now() - s.reset.at < 60_000)
    return `Started again from a new snapshot: ${resets[s.reset.reason] ?? s.reset.reason}.`
  return ''
}

function renderResume(s) {
  const r = s.resume
  const told = r && r.took !== null && s.connections > 1 && s.state === 'live'
  $('resumed').hidden = !told
  if (!told) return
  const from = r.from.split('.')[1]
  const brought = `${count(r.backlog, 'event')} in the backlog, ${count(r.doubled, 'duplicate')}`
  const text = `Resumed after ${from}: ${brought}, in ${r.took} ms.`
  $('resumed').textContent = `${text} ${checked}`
  if (askedFor) check(text)
}

function count(n, what) {
  return `${n === 0 ? 'no' : n} ${what}${n === 1 ? '' : 's'}`
}

// check compares the open channel with its history after a resume by the button.
async function check(text) {
  askedFor = false
  try {
    const lost = await missing()
    if (lost !== null) checked = `Compared with the history: ${lost === 0 ? 'nothing is' : lost} missing.`
  } catch {
    /* the panel shows no comparison */
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
