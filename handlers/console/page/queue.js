import { api } from './api.js'
import { $, announce, bare, button, confirm, el, patch, tell, written } from './dom.js'
import { asProblem, nameOf, onSnapshot, store, watch } from './store.js'

// The user's own queue of work: what waits, what is claimed, and what failed.

const pause = 1_000 // milliseconds between two reads of the queue
let rows = []
let next = null
let due = false // a read will follow
let reading = false
let missed = false // something changed while the page was hidden
const asked = new Set() // ids of the work that was asked to stop, on this page

const words = {
  pending: 'waits',
  claimed: 'in work',
  dead: 'failed',
  declined: 'declined',
  stopped: 'stopped',
  expired: 'too old',
}

onSnapshot(refresh)
watch('queue', refresh)
watch('channels users', render)

// worth reports whether a new message may change the queue. Most people have none.
export function worth(message) {
  return message.wakeup && (rows.length > 0 || store.me.kind === 'agent')
}

// refresh reads the queue soon. Many calls make one read.
export function refresh() {
  if (due) return
  due = true
  setTimeout(read, pause)
}

async function read() {
  due = false
  missed = document.hidden
  if (!store.me || missed) return
  if (reading) return refresh()
  reading = true
  try {
    const page = await api('GET', 'wakes?limit=50')
    rows = list(page)
    next = page.next
    render()
  } catch {
    /* the next change of the queue reads it again */
  } finally {
    reading = false
  }
}
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && (missed || rows.length > 0)) refresh()
})

function list({ pending, claimed, dead }) {
  const as = (state) => (row) => ({ state, ...row })
  return [
    ...claimed.map(as('claimed')),
    ...pending.map(as('pending')),
    ...dead.map((row) => ({ state: row.outcome, ...row })),
  ]
}

const failed = (problem) => tell($('queue-problem'), asProblem(problem).text)

function render() {
  $('queue').hidden = rows.length === 0
  patch(
    $('queue-rows'),
    rows.map((row) => ({ ...row, name: channelName(row), asked: asked.has(row.id) })),
    (row) => `${row.id ?? ''} ${row.channelId} ${row.at}`,
    item,
  )
  $('queue-more').replaceChildren(...(next ? [button('More', { class: 'quiet' }, more, failed)] : []))
}

async function more() {
  const page = await api('GET', `wakes?limit=50&after=${encodeURIComponent(next)}`)
  rows = [...rows, ...list(page)]
  next = page.next
  render()
}

function channelName({ channelId }) {
  const channel = store.channels.get(channelId)
  return channel ? nameOf(channel) : 'a channel'
}

function item(row) {
  const { state, channelId, name, attempts, worker, status, note, error } = row
  const about = [
    `since ${new Date(row.at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })}`,
    attempts > 1 && `attempt ${attempts}`,
    worker && ['by ', written(worker)],
    state === 'claimed' && row.asked && 'asked to stop',
  ].filter(Boolean)
  const says = status ?? note ?? error
  return el(
    'li',
    {},
    el(
      'p',
      {},
      el('span', { class: `mark ${state}` }, words[state] ?? state),
      ' ',
      el('a', { href: `#/${channelId}` }, written(name)),
    ),
    el('p', { class: 'hint' }, ...about.flatMap((part, i) => (i > 0 ? [' · ', part] : [part])).flat()),
    says && el('p', { class: 'hint says' }, written(says)),
    el('p', { class: 'row' }, ...buttons(row, bare(name))),
  )
}

function buttons({ state, id, channelId }, name) {
  const act = (label, what, done, work) =>
    button(label, { 'aria-label': `${label}: ${what} in ${name}` }, () => change(work, done), failed)
  if (state === 'claimed')
    return [
      act('Stop', 'the work', 'The worker was asked to stop', async () => {
        await api('POST', `channels/${channelId}/stop`, { body: { userId: store.me.userId } })
        asked.add(id)
      }),
    ]
  if (state === 'pending') return []
  return [
    act('Retry', 'the failed work', 'It will be tried again', () => api('POST', `wakes/dead/${id}/retry`)),
    act('Drop', 'the failed work', 'It was dropped', () => drop(id)),
  ]
}

async function drop(id) {
  const sure = await confirm({
    title: ['Drop this work?'],
    action: 'Drop',
    text: 'Nobody will try it again. The messages stay in the channel. You cannot undo this.',
  })
  if (!sure) return false
  return api('DELETE', `wakes/dead/${id}`)
}

// change changes the queue, and reads it again.
async function change(work, done) {
  tell($('queue-problem'), '')
  if ((await work()) === false) return
  announce(done)
  await read()
  if (document.activeElement === document.body) $('details').focus() // its row is gone
}
