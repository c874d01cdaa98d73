import { api } from './api.js'
import { el } from './dom.js'
import { unloaded } from './room.js'
import { store } from './store.js'
import { learn, lookUp, userName } from './users.js'

// Mentions. A text has them as <@ID> or <@user.id:ID>; people read and write @NAME.

const written = /<@(?:user\.id:)?([A-Za-z0-9._@-]{1,128})>/g

// chip shows a mention by name. The id is the title.
export function chip(userId) {
  const name = userName(userId)
  return el(
    'bdi',
    { class: userId === store.me.userId ? 'mention me' : 'mention', title: name === userId ? null : userId },
    `@${name}`,
  )
}

// marked splits a plain text into texts and mentions.
export function marked(content) {
  const parts = []
  let from = 0
  for (const found of content.matchAll(written)) {
    parts.push(content.slice(from, found.index), chip(found[1]))
    from = found.index + found[0].length
  }
  return [...parts, content.slice(from)].filter((part) => part !== '')
}

// plain returns a text with names for its mentions.
export function plain(content) {
  return content.replace(written, (_, userId) => `@${userName(userId)}`)
}

const found = new WeakMap() // by message: the ids of the users whom it mentions

// mentioned returns the ids of the users whom a message mentions, and asks for their names.
export function mentioned(message) {
  if (!found.has(message)) {
    const ids = [...(message.content ?? '').matchAll(written)].map((mention) => mention[1])
    lookUp(ids)
    found.set(message, ids)
  }
  return found.get(message)
}

// people returns the ids of the users whom a text in a channel may mention: its members, as far as the page knows
// them, and those whom seek has found.
export function people(room = store.room) {
  return [...new Set([...(room?.details?.members ?? []).map((m) => m.userId), ...(room?.found ?? [])])]
}

const patience = 2_000 // milliseconds that a text waits for seek
const mostWords = 20 // in a text
const mostPages = 5 // of users for a word
const afterAt = /@([\p{L}\p{N}_-][\p{L}\p{N}._-]{0,63})/gu

// seek looks for the users that a text names after "@", if the page does not know all members of the channel. It may
// find users who are not members: the answer to the message says so. It resolves to true if it has found somebody new.
export async function seek(text, room = store.room) {
  if (!room?.details || unloaded(room.details) === 0) return false
  const words = new Set([...text.matchAll(afterAt)].map(([, word]) => word.replace(/[.-]+$/, '').toLowerCase()))
  const before = room.found.size
  const all = [...words].slice(0, mostWords).map((word) => {
    if (!room.sought.has(word)) room.sought.set(word, find(room, word))
    return room.sought.get(word)
  })
  await Promise.race([Promise.all(all), new Promise((resolve) => setTimeout(resolve, patience))])
  return room.found.size > before
}

async function find(room, q) {
  try {
    let after = null
    for (let page = 0; page < mostPages; page++) {
      const query = { q, guildId: room.channel.guildId, limit: 200, ...(after && { after }) }
      const { items, next } = await api('GET', `users?${new URLSearchParams(query)}`)
      for (const { userId, kind, displayName } of items) {
        learn(userId, kind, displayName)
        room.found.add(userId)
      }
      after = next
      if (!after) break
    }
  } catch {
    room.sought.delete(q) // the next letter tries again
  }
}

// handles returns what people write after "@" for each of them: the id, and the name if nobody else has it.
function handles(room) {
  const all = new Map() // in lower case → user id, or null if it is not clear whom it means
  const ids = people(room)
  for (const id of ids) {
    const name = lower(userName(id))
    all.set(name, all.has(name) ? null : id)
  }
  for (const id of ids) all.set(lower(id), id)
  return all
}

// lower returns a text in lower case and of the same length. Some letters would become longer, such as İ: they stay.
function lower(text) {
  return text.replace(/./gsu, (letter) => {
    const small = letter.toLowerCase()
    return small.length === letter.length ? small : letter
  })
}

// handle returns what to write after "@" to mention a member.
export function handle(userId) {
  const name = userName(userId)
  return handles(store.room).get(lower(name)) === userId ? name : userId
}

const code = /```[\s\S]*?(?:```|$)|~~~[\s\S]*?(?:~~~|$)|(`+)[^`][\s\S]*?\1/g

// outsideCode calls change for each part of a text that is not code, and joins the results.
function outsideCode(text, change) {
  let result = ''
  let from = 0
  for (const found of text.matchAll(code)) {
    result += change(text.slice(from, found.index)) + found[0]
    from = found.index + found[0].length
  }
  return result + change(text.slice(from))
}

// encode turns @NAME and @ID of a channel's people into mentions, outside of code. Call seek before.
export function encode(text, room = store.room) {
  const all = [...handles(room)].filter(([, id]) => id).sort(([a], [b]) => b.length - a.length) // the longest first
  return outsideCode(text, (part) => {
    const small = lower(part)
    let result = ''
    let from = 0
    for (const { index } of part.matchAll(/(?<![\p{L}\p{N}._<@-])@/gu)) {
      if (index < from) continue
      const rest = small.slice(index + 1)
      const found = all.find(([name]) => rest.startsWith(name) && ends(rest.slice(name.length)))
      if (!found) continue
      result += `${part.slice(from, index)}<@${found[1]}>`
      from = index + 1 + found[0].length
    }
    return result + part.slice(from)
  })
}

// ends reports whether a name may end before a text.
function ends(rest) {
  return !/^(?:[\p{L}\p{N}_@-]|\.[\p{L}\p{N}])/u.test(rest)
}

// decode turns mentions back into what people write, for an edit. A text that would not become the same again stays
// as it is.
export function decode(text) {
  const friendly = outsideCode(text, (part) => part.replace(written, (_, userId) => `@${handle(userId)}`))
  return encode(friendly) === text ? friendly : text
}
