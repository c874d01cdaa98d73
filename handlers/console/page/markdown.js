import { api } from './api.js'
import { changed } from './store.js'

// The HTML of messages that are written in Markdown, as the server renders it. Many texts share a request. Until the
// answer is there, and if none comes, the plain text is shown.

const mostTexts = 200 // in a request
const mostBytes = 40_000 // of texts in a request: a body has at most 64 KiB
const keptBytes = 4_000_000 // of HTML, for messages that are loaded again
const patience = 2_000 // milliseconds that a page of the history waits

const made = new WeakMap() // by message: its HTML, or '' if it needs none
const asked = new WeakSet() // messages: each asks once
const kept = new Map() // by text: its HTML, the oldest first
let size = 0 // of kept
const waiting = new Map() // by text: the messages that wait for it
let running = null // the requests for them

// marks finds what Markdown could change. Most texts have none of it, and need no request.
const marks = /[*_`~#>|\\]|^\s*(?:[-+]|\d+[.)])\s|\]\(|https?:\/\/|www\.|&#?\w+;|^(?: {4}|\t)|^[-=]{2,}\s*$/m
const mentions = /<@[^>\s]+>/g

function plain(message) {
  return !message.content || message.content.startsWith('/me ') || !marks.test(message.content.replace(mentions, ''))
}

// htmlOf returns the HTML of a message, or '' if there is none yet, or none is needed. Views are told when it comes.
export function htmlOf(message) {
  if (!made.has(message) && plain(message)) made.set(message, '')
  if (!made.has(message) && kept.has(message.content)) made.set(message, kept.get(message.content))
  if (made.has(message)) return made.get(message)
  if (asked.has(message)) return ''
  asked.add(message)
  waiting.set(message.content, [...(waiting.get(message.content) ?? []), message])
  running ??= Promise.resolve().then(ask)
  return ''
}

// prepare resolves when the HTML of messages is there, or after a while. What is shown then does not move any more.
export async function prepare(messages) {
  for (const m of messages) htmlOf(m)
  if (running) await Promise.race([running, new Promise((resolve) => setTimeout(resolve, patience))])
}

async function ask() {
  while (waiting.size > 0) {
    const batch = take()
    try {
      const { html } = await api('POST', 'render', { body: { contents: batch.map(([text]) => text) } })
      for (const [i, [text, messages]] of batch.entries()) keep(text, messages, html[i])
      changed('messages')
    } catch {
      /* the plain text stays */
    }
  }
  running = null
}

// take removes the next batch from what waits.
function take() {
  const batch = []
  let bytes = 0
  for (const [text, messages] of waiting) {
    bytes += new Blob([JSON.stringify(text)]).size
    if (batch.length > 0 && (bytes > mostBytes || batch.length === mostTexts)) break
    batch.push([text, messages])
    waiting.delete(text)
  }
  return batch
}

function keep(text, messages, html) {
  for (const m of messages) made.set(m, html)
  kept.set(text, html)
  size += text.length + html.length
  for (const [oldest, old] of kept) {
    if (size <= keptBytes) break
    kept.delete(oldest)
    size -= oldest.length + old.length
  }
}
