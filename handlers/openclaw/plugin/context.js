// What a run gets to read: who wrote what, the message that is answered, and the context that it has not seen.

export const channel = 'fabric'
export const accountId = 'default'

const nameOf = ({ authorName, authorUserId }) => authorName ?? authorUserId

/** The author for the model: agents are marked, because a model treats people and agents differently. */
export const authorOf = (message) => nameOf(message) + (message.authorKind === 'agent' ? ' (agent)' : '')

/** The text of the waking messages. Several are one text with their authors. */
export function bodyOf(messages) {
  if (messages.length === 1) return messages[0].content
  return messages.map((message) => `${authorOf(message)}: ${message.content}`).join('\n\n')
}

/**
 * Splits a wake into `todo`, the waking messages that nobody has answered yet, and `unseen`, the other messages that the
 * agent has not seen. `me` is the agent's user id, `seen` the newest message that an earlier run in this channel saw, if
 * this process has had one, and `notice` a message of the agent that answers nothing. `overtaken` says that the agent
 * has posted after the last waking message.
 */
export function look({ messages, context }, me, { seen, notice } = {}) {
  const isMine = ({ id, authorUserId }) => authorUserId === me && id !== notice
  const mine = context.filter(isMine)
  const answered = messages.findLastIndex(({ id }) => mine.some(({ replyTo }) => replyTo === id))
  const from = context.findLastIndex(seen === undefined ? isMine : ({ id }) => id === seen)
  // Waking messages have a run of their own.
  const isNews = ({ authorUserId, wakeup, content }) => authorUserId !== me && !wakeup && content !== undefined
  return {
    todo: messages.slice(answered + 1),
    unseen: context.slice(from + 1).filter(isNews),
    overtaken: mine.some(({ id }) => id > messages.at(-1).id),
  }
}

/** The message that another one replies to: from the wake if it is there, else from the server. */
export async function quoteOf(api, { context, messages }, { replyTo }) {
  if (!replyTo) return
  const known = [...context, ...messages].find(({ id }) => id === replyTo)
  const read = () => api.call('GET', `/api/messages/${replyTo}`).catch(() => ({})) // it is a help, no more
  const quote = known ?? (await read()).message
  return quote?.content === undefined ? undefined : quote
}

/** The agent and the session of a channel. Each dm has its own session; by default all dms would share one. */
export function routeOf({ routing }, cfg, { xType, channelId }) {
  const peer = { kind: xType === 'dm' ? 'direct' : 'group', id: channelId }
  const { agentId, sessionKey } = routing.resolveAgentRoute({ cfg, channel, accountId, peer })
  if (xType !== 'dm') return { agentId, sessionKey }
  const dmScope = 'per-account-channel-peer'
  return { agentId, sessionKey: routing.buildAgentSessionKey({ agentId, channel, accountId, peer, dmScope }) }
}

/** The part of a dispatch that says what is answered. `quote` is the message that the last one replies to, if any. */
export async function turnOf({ inbound }, { cfg, route, wake, todo, unseen, quote, messageId }) {
  const last = todo.at(-1)
  const sender = { id: last.authorUserId, name: authorOf(last), isBot: last.authorKind === 'agent' }
  const to = `fabric:${wake.channelId}`
  const where =
    wake.xType === 'dm'
      ? { kind: 'direct', from: `fabric:user:${sender.id}`, label: nameOf(last) }
      : { kind: 'group', from: to, label: `#${wake.name}` }
  const peer = { kind: where.kind, id: wake.channelId }

  const channelIngress = await inbound.ingress.resolveStable({
    channelId: channel,
    accountId,
    cfg,
    subject: { stableId: sender.id },
    conversation: peer,
    contextBinding: { ...route, messageId, inboundEventKind: 'user_request' },
    // The server has decided who may post here and whom it wakes, so OpenClaw lets everything in.
    ...{ dmPolicy: 'open', groupPolicy: 'open', allowFrom: ['*'], groupAllowFrom: ['*'], command: {} },
  })
  const ctxPayload = inbound.buildContext({
    channel,
    accountId,
    messageId,
    timestamp: Date.parse(last.createdAt),
    from: where.from,
    sender,
    conversation: { ...peer, label: where.label, routePeer: peer },
    route: { agentId: route.agentId, accountId, routeSessionKey: route.sessionKey },
    reply: { to },
    message: {
      rawBody: bodyOf(todo),
      inboundHistory: unseen.map((message) => ({
        sender: authorOf(message),
        body: message.content,
        timestamp: Date.parse(message.createdAt),
        messageId: message.id,
      })),
    },
    sessionTranscript: { historyLimit: unseen.length, historyKind: 'recent' },
    supplemental: quote && { quote: { id: quote.id, body: quote.content, sender: authorOf(quote), isQuote: true } },
    access: {
      commands: { authorized: channelIngress.commandAccess.authorized },
      mentions: { canDetectMention: true, wasMentioned: todo.some(({ wakeReason }) => wakeReason === 'mention') },
    },
    channelIngress,
  })
  return { cfg, channel, accountId, route, ctxPayload, messageId }
}
