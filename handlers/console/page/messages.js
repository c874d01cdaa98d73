import { api } from './api.js'
import { deliveries, outcome } from './deliveries.js'
import { $, announce, avatar, bare, button, confirm, el, patch, tell, written } from './dom.js'
import { loadEarlier, onArrival, replace } from './room.js'
import { asProblem, changed, store, watch } from './store.js'
import { seen } from './unread.js'
import { workLines, workOn } from './work.js'

// The list of messages, newest last.

const list = $('messages')
const scroller = $('scroller')
let unseen = 0 // messages that arrived below the visible part
let roomId = null
const tables = new Map() // by message id: the open table of whom it woke

watch('messages users', render)
onArrival((message) => {
  const mine = message.authorUserId === store.me.userId
  if (!mine && !atEnd()) unseen++
  if (!mine) announce(`${message.authorUserId}: ${bare(plain(message.content ?? ''))}`)
})
scroller.addEventListener('scroll', () => {
  if (atEnd()) showNewest(0)
})
$('newest').addEventListener('click', () => {
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
  const stick = another || atEnd()
  if (another) {
    roomId = room?.id ?? null
    tell($('history-problem'), '')
    unseen = 0
    tables.clear()
  }
  const messages = room?.messages ?? []
  $('earlier').hidden = !room?.earlier
  $('nothing').hidden = !room?.loaded || messages.length > 0
  patch(
    list,
    messages.map((m, i) => looks(m, messages[i - 1], messages)),
    ({ message }) => message.id,
    make,
  )
  if (stick) toEnd()
  else showNewest(unseen)
}

function looks(message, before, all) {
  const [then, last] = [new Date(message.createdAt), before && new Date(before.createdAt)]
  const newDay = then.toDateString() !== last?.toDateString()
  const to = message.replyTo && all.find((m) => m.id === message.replyTo)
  return {
    message,
    day: newDay ? dayOf(then) : '',
    continued: !newDay && then - last < 300_000 && before.authorUserId === message.authorUserId && !message.replyTo,
    replyTo: to?.authorUserId,
    reply: to ? bare(plain(to.content ?? '')).slice(0, 80) : '',
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
    mayEdit: changeable && mine,
    mayDelete: changeable && (mine || (channel?.createdBy === store.me.userId && channel.xType !== 'dm')),
  }
}

function make({ message, day, continued, replyTo, reply, mayEdit, mayDelete }) {
  const problem = el('p', { class: 'problem', role: 'alert', hidden: true })
  const failed = (p) => tell(problem, asProblem(p).text)
  const about = `, message of ${message.authorUserId} at ${clock(message)}`
  return el(
    'li',
    { class: `message${continued ? ' continued' : ''}${message.wakeup ? ' wakes' : ''}`, 'data-id': message.id },
    day && el('p', { class: 'day' }, el('span', {}, day)),
    avatar(message.authorUserId),
    el(
      'div',
      { class: 'body' },
      el(
        'p',
        { class: 'by' },
        el('bdi', { class: 'author' }, message.authorUserId),
        ' ',
        el(
          'time',
          { datetime: message.createdAt, title: new Date(message.createdAt).toLocaleString() },
          clock(message),
        ),
        message.editedAt && !message.deleted && el('span', { class: 'edited' }, ' edited'),
      ),
      message.replyTo &&
        el(
          'p',
          { class: 'reply' },
          ...(replyTo ? ['in reply to ', written(replyTo), ': ', written(reply)] : ['in reply to an earlier message']),
        ),
      text(message),
      workLines(message),
      el(
        'div',
        { class: 'foot' },
        woken(message),
        el(
          'span',
          { class: 'actions' },
          button(
            'Who was woken',
            { 'aria-expanded': String(tables.has(message.id)), 'aria-label': `Who was woken${about}` },
            (self) => toggleDeliveries(self, message, failed),
            failed,
          ),
          mayEdit && button('Edit', { 'aria-label': `Edit${about}` }, (self) => edit(self, message), failed),
          mayDelete && button('Delete', { 'aria-label': `Delete${about}` }, () => remove(message), failed),
        ),
      ),
      problem,
      tables.get(message.id),
    ),
  )
}

function text(message) {
  if (message.deleted) return el('p', { class: 'text gone' }, 'deleted')
  if (message.redacted) return el('p', { class: 'text gone' }, 'changed after you left')
  const action = /^\/me\s+/.exec(message.content)
  const content = action ? message.content.slice(action[0].length) : message.content
  const author = action && [written(message.authorUserId), ' ']
  return el('p', { class: action ? 'text action' : 'text', dir: 'auto' }, author, ...marked(content))
}

// marked splits a content into texts and mentions. "<@ID>" and "<@user.id:ID>" are shown as @ID.
const mention = /<@(?:user\.id:)?([A-Za-z0-9._@-]{1,128})>/g
function marked(content) {
  const parts = []
  let from = 0
  for (const found of content.matchAll(mention)) {
    parts.push(content.slice(from, found.index))
    parts.push(el('bdi', { class: found[1] === store.me.userId ? 'mention me' : 'mention' }, `@${found[1]}`))
    from = found.index + found[0].length
  }
  return [...parts, content.slice(from)].filter((part) => part !== '')
}

function plain(content) {
  return content.replace(mention, '@$1')
}

// woken returns a mark that says what a message did for the user, as the stream said. For the user's own
// message it says whom the message woke.
function woken(message) {
  if (message.wakeups) {
    const names = message.wakeups
      .slice(0, 3)
      .map((w) => `${w.userId} (${w.reason})`)
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
    const body = list.querySelector(`[data-id="${message.id}"] .body`) // the message may have changed meanwhile
    body?.append(table)
    table.scrollIntoView({ block: 'nearest' })
  }
  self.setAttribute('aria-expanded', String(!open))
}

function edit(self, message) {
  const body = self.closest('.body')
  if (body.querySelector('form')) return
  const [old, foot] = [body.querySelector('.text'), body.querySelector('.foot')]
  const box = el('textarea', { 'aria-label': 'New text of the message', rows: 3 })
  const problem = el('p', { class: 'problem', role: 'alert', hidden: true })
  box.value = message.content
  const end = () => {
    form.remove()
    old.hidden = foot.hidden = false
    self.focus()
    changed('messages') // it may have changed during the edit
  }
  const form = el(
    'form',
    {
      class: 'edit',
      onsubmit: async (e) => {
        e.preventDefault()
        try {
          const answer = await api('PATCH', `messages/${message.id}`, { body: { content: box.value } })
          end()
          replace(answer.message)
        } catch (p) {
          tell(problem, asProblem(p).text)
        }
      },
      onkeydown: (e) => {
        if (e.key === 'Escape') end()
        if (e.key === 'Enter' && !e.shiftKey && !e.isComposing && e.target === box) {
          e.preventDefault()
          form.requestSubmit()
        }
      },
    },
    box,
    problem,
    el(
      'div',
      { class: 'row' },
      el('button', { class: 'primary' }, 'Save'),
      el('button', { type: 'button', onclick: end }, 'Cancel'),
    ),
  )
  old.hidden = foot.hidden = true
  old.after(form)
  box.focus()
}

async function remove(message) {
  const sure = await confirm({
    title: ['Delete this message?'],
    action: 'Delete',
    text: 'Members will see that there was a message, but not its text. You cannot undo this.',
  })
  if (!sure) return
  const answer = await api('DELETE', `messages/${message.id}`)
  replace(answer.message)
  $('log').focus()
}

function atEnd() {
  return scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 60
}

function toEnd() {
  scroller.scrollTop = scroller.scrollHeight
  showNewest(0)
}

function showNewest(count) {
  unseen = count
  $('newest').hidden = count === 0
  $('newest').textContent = count === 1 ? 'A new message ↓' : `${count} new messages ↓`
  if (count === 0 && !document.hidden) seen()
}
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && atEnd()) seen()
})

function clock(message) {
  return new Date(message.createdAt).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })
}

function dayOf(then) {
  const now = new Date()
  if (then.toDateString() === now.toDateString()) return 'Today'
  const year = then.getFullYear() === now.getFullYear() ? undefined : 'numeric'
  return then.toLocaleDateString([], { weekday: 'long', day: 'numeric', month: 'long', year })
}
