import { api } from './api.js'
import { el, written } from './dom.js'
import { changed } from './store.js'

// What is known of users: their kinds and display names. An id stands where no name is known.

const known = new Map() // by id: {kind, name}
const asked = new Set() // ids that were looked up, or will be
const asking = []

// learn takes what the server says of a user now. kind undefined says nothing.
export function learn(userId, kind, name) {
  if (!userId || !kind) return
  const before = known.get(userId)
  if (before?.kind === kind && before.name === name) return
  known.set(userId, { kind, name })
  changed('users')
}

// userName returns the display name of a user, or else the id.
export function userName(userId) {
  return known.get(userId)?.name ?? userId
}

export function isAgent(userId) {
  return known.get(userId)?.kind === 'agent'
}

// who shows a user by name. The id is the title, because a name is not unique.
export function who(userId, properties = {}) {
  const name = userName(userId)
  const node = written(name)
  for (const [key, value] of Object.entries({ title: name === userId ? null : userId, ...properties }))
    if (value) node.setAttribute(key, value)
  return node
}

// agentMark marks an agent, and nobody else.
export function agentMark(userId) {
  return isAgent(userId) && el('span', { class: 'mark agent' }, 'agent')
}

// lookUp asks the server for the names of those users of whom nothing is known. It asks once for each user.
export function lookUp(userIds) {
  const unknown = userIds.filter((id) => !known.has(id) && !asked.has(id))
  if (unknown.length === 0) return
  for (const id of unknown) asked.add(id)
  if (asking.length === 0) setTimeout(ask, 50)
  asking.push(...unknown)
}

async function ask() {
  const ids = asking.splice(0, 100) // the most that one request may name
  if (asking.length > 0) setTimeout(ask, 50)
  try {
    const { items } = await api('GET', `users?ids=${ids.map(encodeURIComponent).join(',')}&limit=200`)
    for (const user of items) learn(user.userId, user.kind, user.displayName)
  } catch {
    /* their ids are shown */
  }
}
