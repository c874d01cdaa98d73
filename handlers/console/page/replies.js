import { api } from './api.js'
import { bare, el, written } from './dom.js'
import { plain } from './mentions.js'
import { changed, store } from './store.js'
import { learn, lookUp, userName } from './users.js'

// What a reply answers: one line above it, which leads to the original.

const originals = new Map() // by id: a message that is not on the page, or null if there is none to see
const mostOriginals = 200

// original returns the message that a reply answers, if it is known. Otherwise it is loaded, and views are told.
function original({ replyTo }) {
  const here = store.room.messages.find((m) => m.id === replyTo)
  if (here || originals.has(replyTo)) return here ?? originals.get(replyTo)
  if (originals.size >= mostOriginals) originals.delete(originals.keys().next().value)
  originals.set(replyTo, null)
  load(replyTo)
  return null
}

async function load(id) {
  try {
    const { message } = await api('GET', `messages/${id}`)
    learn(message.authorUserId, message.authorKind, message.authorName)
    if (!originals.get(id)) rewritten(message) // otherwise the stream has brought a later state
  } catch {
    /* the line says who wrote it */
  }
}

// rewritten takes the new state of a message, for the lines above its replies.
export function rewritten(message) {
  if (!originals.has(message.id)) return
  originals.set(message.id, message)
  changed('messages')
}

// answers returns what the line says, or '' for a message that is no reply.
export function answers(message) {
  if (!message.replyTo) return ''
  const to = original(message)
  const author = to?.authorUserId ?? message.replyToUserId
  if (!author) return 'an earlier message\n'
  lookUp([author])
  return `${userName(author)}\n${to?.deleted ? 'deleted' : excerpt(to?.content ?? '')}`
}

// excerpt returns the beginning of a text in one line, without the marks of Markdown.
export function excerpt(content) {
  const words = bare(plain(content)).replace(/[*`~|]+|^\s*(?:#+|>|[-+]|\|?[-:| ]+\|)\s/gm, ' ')
  return words.replace(/\s+/g, ' ').trim().slice(0, 120)
}

// replyLine returns the line, as a link to the original.
export function replyLine(message) {
  if (!message.replyTo) return null
  const [author, text] = answers(message).split('\n')
  return el(
    'p',
    { class: 'reply' },
    el(
      'a',
      { href: `#/${message.channelId}/${message.replyTo}` },
      'in reply to ',
      written(author),
      text && [': ', written(text)],
    ),
  )
}
