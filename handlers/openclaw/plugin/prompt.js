// What a run gets to read: who wrote what, the message that is answered, and the context that it has not seen.

export const nameOf = (message) => message.authorName ?? message.authorUserId

/** The author for the model: agents are marked, because a model treats people and agents differently. */
export const authorOf = (message) => nameOf(message) + (message.authorKind === 'agent' ? ' (agent)' : '')

/**
 * Splits a wake into `todo`, the waking messages that nobody has answered yet, and `unseen`, the other messages that the
 * agent has not seen. `me` is the agent's user id. `seen` is the newest message that an earlier run in this channel saw,
 * if this process remembers one. `overtaken` says that the agent has posted after the last waking message.
 */
export function look(wake, me, seen) {
  const { messages, context } = wake
  const mine = context.filter((message) => message.authorUserId === me)
  const answers = new Set(mine.map((message) => message.replyTo))
  const todo = messages.slice(messages.findLastIndex((message) => answers.has(message.id)) + 1)

  let from = context.findLastIndex((message) => message.id === seen)
  if (seen === undefined) from = context.findLastIndex((message) => message.authorUserId === me)
  const unseen = context.slice(from + 1).filter((message) => {
    return message.authorUserId !== me && !message.wakeup && message.content !== undefined // waking ones have their own run
  })
  return { todo, unseen, overtaken: mine.some((message) => message.id > messages.at(-1).id) }
}

/** The text of the waking messages. Several are one text with a line per author. */
export function bodyOf(messages) {
  if (messages.length === 1) return messages[0].content
  return messages.map((message) => `${authorOf(message)}: ${message.content}`).join('\n\n')
}
