import { deliveries, outcome } from './deliveries.js'
import { avatar, bare, button, el, tell } from './dom.js'
import { edit, remove } from './edit.js'
import { guardLine, guards } from './guard.js'
import { htmlOf } from './markdown.js'
import { marked, mentioned, plain } from './mentions.js'
import { fold, prose } from './prose.js'
import { answers, replyLine } from './replies.js'
import { answer } from './replying.js'
import { asProblem, store } from './store.js'
import { agentMark, isAgent, userName, who } from './users.js'
import { workLines, workOn } from './work.js'

// One message, as the list shows it.

const tables = new Map() // by message id: the open table of whom it woke

// looks returns all that the node of a message shows. If nothing of it changes, the node stays.
export function looks(message, before) {
  const [then, last] = [new Date(message.createdAt), before && new Date(before.createdAt)]
  const newDay = then.toDateString() !== last?.toDateString()
  const sameAuthor = before?.authorUserId === message.authorUserId
  return {
    message,
    day: newDay ? dayOf(then) : '',
    continued: !newDay && then - last < 300_000 && sameAuthor && !message.replyTo,
    people: [message.authorUserId, ...mentioned(message)].map(userName).join('\n'),
    agent: isAgent(message.authorUserId),
    html: htmlOf(message),
    fresh: message.id === store.room.newFrom,
    guard: guards(message, before),
    reply: answers(message),
    work: workOn(message.id),
    ...powers(message),
  }
}

// powers returns what the user may do with a message.
function powers(message) {
  const { channel } = store.room
  const changeable = !message.deleted && !channel?.archivedAt && store.channels.has(message.channelId)
  const mine = message.authorUserId === store.me.userId
  return {
    mayAnswer: changeable,
    mayEdit: changeable && mine,
    mayDelete: changeable && (mine || (channel?.createdBy === store.me.userId && channel.xType !== 'dm')),
  }
}

// make makes the node of a message.
export function make(item) {
  const { message, day, continued } = item
  const problem = el('p', { class: 'problem', role: 'alert', hidden: true })
  return el(
    'li',
    {
      class: `message${continued ? ' continued' : ''}${message.wakeup ? ' wakes' : ''}`,
      'data-id': message.id,
      tabindex: -1,
    },
    day && el('p', { class: 'day' }, el('span', {}, day)),
    item.fresh && el('p', { class: 'day fresh' }, el('span', {}, 'New')),
    guardLine(item.guard),
    avatar(message.authorUserId, userName(message.authorUserId)),
    el(
      'div',
      { class: 'body' },
      by(message),
      replyLine(message),
      fold(message, text(message, item.html)),
      workLines(message),
      el(
        'div',
        { class: 'foot' },
        woken(message),
        actions(item, (p) => tell(problem, asProblem(p).text)),
      ),
      problem,
      tables.get(message.id),
    ),
  )
}

function by(message) {
  return el(
    'p',
    { class: 'by' },
    who(message.authorUserId, { class: 'author' }),
    ' ',
    agentMark(message.authorUserId),
    ' ',
    el('time', { datetime: message.createdAt, title: new Date(message.createdAt).toLocaleString() }, clock(message)),
    message.editedAt && !message.deleted && el('span', { class: 'edited' }, ' edited'),
  )
}

function text(message, html) {
  if (message.deleted) return el('p', { class: 'text gone' }, 'deleted')
  if (message.redacted) return el('p', { class: 'text gone' }, 'changed after you left')
  if (html) return el('div', { class: 'text prose', dir: 'auto' }, ...prose(html))
  const action = /^\/me\s+/.exec(message.content)
  const content = action ? message.content.slice(action[0].length) : message.content
  const author = action && [who(message.authorUserId), ' ']
  return el('p', { class: action ? 'text action' : 'text', dir: 'auto' }, author, ...marked(content))
}

function actions({ message, mayAnswer, mayEdit, mayDelete }, failed) {
  const about = `, message of ${bare(userName(message.authorUserId))} at ${clock(message)}`
  return el(
    'span',
    { class: 'actions' },
    button(
      'Who was woken',
      { 'aria-expanded': String(tables.has(message.id)), 'aria-label': `Who was woken${about}` },
      (self) => toggleDeliveries(self, message, failed),
      failed,
    ),
    mayAnswer && button('Answer', { 'aria-label': `Answer${about}` }, () => answer(message), failed),
    mayEdit && button('Edit', { 'aria-label': `Edit${about}` }, (self) => edit(self, message), failed),
    mayDelete && button('Delete', { 'aria-label': `Delete${about}` }, () => remove(message), failed),
  )
}

// woken returns a mark that says what a message did for the user, as the stream said. For the user's own
// message it says whom the message woke.
function woken(message) {
  if (message.wakeups) {
    const names = message.wakeups
      .slice(0, 3)
      .map((w) => `${bare(userName(w.userId))} (${w.reason})`)
      .join(', ')
    const more = message.wakeupCount - Math.min(3, message.wakeups.length)
    return outcome(
      message.wakeupCount > 0,
      message.wakeupCount ? `woke ${names}${more > 0 ? ` and ${more} more` : ''}` : 'woke nobody',
    )
  }
  if (!message.wakeReason || message.wakeReason === 'author') return null
  return outcome(message.wakeup, `${message.wakeup ? 'woke you' : 'did not wake you'} · ${message.wakeReason}`)
}

async function toggleDeliveries(self, message, failed) {
  const open = tables.get(message.id)
  if (open) {
    tables.delete(message.id)
    open.remove()
  } else {
    const table = await deliveries(message, failed)
    tables.set(message.id, table)
    document.querySelector(`#messages [data-id="${message.id}"] .body`)?.append(table) // its node may be another now
    table.scrollIntoView({ block: 'nearest' })
  }
  self.setAttribute('aria-expanded', String(!open))
}

// closeTables forgets the open tables, when another channel is opened.
export function closeTables() {
  tables.clear()
}

// spoken returns what a screen reader says of a new message.
export function spoken(message) {
  return `${bare(userName(message.authorUserId))}: ${bare(plain(message.content ?? ''))}`
}

function clock(message) {
  return new Date(message.createdAt).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })
}

function dayOf(then) {
  const now = new Date()
  if (then.toDateString() === now.toDateString()) return 'Today'
  const year = then.getFullYear() === now.getFullYear() ? undefined : 'numeric'
  return then.toLocaleDateString([], { weekday: 'long', day: 'numeric', month: 'long', year })
}
