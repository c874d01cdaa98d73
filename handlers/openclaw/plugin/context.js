// Translates a wake into OpenClaw's terms: the agent and session that it belongs to, and the context of one turn.
import { authorOf, bodyOf, nameOf } from './prompt.js'

const channel = 'fabric'

/** The agent and the session of a channel. Each dm has its own session; by default all dms would share one. */
export function routeOf(rt, cfg, accountId, { xType, channelId }) {
  const direct = xType === 'dm'
  const peer = { kind: direct ? 'direct' : 'group', id: channelId }
  const { agentId, sessionKey } = rt.channel.routing.resolveAgentRoute({ cfg, channel, accountId, peer })
  if (!direct) return { agentId, sessionKey }
  const dmScope = 'per-account-channel-peer'
  return {
    agentId,
    sessionKey: rt.channel.routing.buildAgentSessionKey({ agentId, channel, accountId, peer, dmScope }),
  }
}

/** The part of a dispatch that says what is answered. `quote` is the message that the last one replies to, if any. */
export async function turnOf({ rt, cfg, accountId, route, wake, todo, unseen, quote, messageId }) {
  const last = todo.at(-1)
  const direct = wake.xType === 'dm'
  const to = `fabric:${wake.channelId}`
  const nativeChannelId = wake.channelId
  const text = bodyOf(todo)
  const command = rt.channel.commands.isControlCommandMessage(text, cfg)

  // The server has decided who may post here and whom it wakes, so OpenClaw lets everything in.
  const channelIngress = await rt.channel.inbound.ingress.resolveStable({
    channelId: channel,
    accountId,
    cfg,
    identity: { key: 'fabric-user-id', entryIdPrefix: 'fabric-entry' },
    subject: { stableId: last.authorUserId },
    conversation: { kind: direct ? 'direct' : 'group', id: wake.channelId },
    contextBinding: { ...route, messageId, nativeChannelId, inboundEventKind: 'user_request' },
    dmPolicy: 'open',
    groupPolicy: 'open',
    allowFrom: ['*'],
    groupAllowFrom: ['*'],
    policy: { activation: { requireMention: false, allowTextCommands: true } },
    command: { allowTextCommands: true, hasControlCommand: command },
  })

  const ctxPayload = rt.channel.inbound.buildContext({
    channel,
    accountId,
    messageId,
    timestamp: Date.parse(last.createdAt),
    from: direct ? `fabric:user:${last.authorUserId}` : to,
    sender: { id: last.authorUserId, name: authorOf(last), isBot: last.authorKind === 'agent' },
    conversation: {
      kind: direct ? 'direct' : 'group',
      id: wake.channelId,
      label: direct ? nameOf(last) : `#${wake.name}`,
      spaceId: wake.guildId,
      nativeChannelId,
      routePeer: { kind: direct ? 'direct' : 'group', id: wake.channelId },
    },
    route: { agentId: route.agentId, accountId, routeSessionKey: route.sessionKey },
    reply: { to, originatingTo: to, nativeChannelId },
    message: {
      rawBody: text,
      bodyForAgent: text,
      commandBody: text,
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
      mentions: { canDetectMention: true, wasMentioned: todo.some((message) => message.wakeReason === 'mention') },
    },
    channelIngress,
  })
  return { cfg, channel, accountId, route, ctxPayload, messageId }
}

/** The message that another one replies to: from the wake if it is there, else from the server. */
export async function quoteOf(api, wake, message) {
  if (!message.replyTo) return
  const known = [...wake.context, ...wake.messages].find(({ id }) => id === message.replyTo)
  if (known) return known.content === undefined ? undefined : known
  const answer = await api.call('GET', `/api/messages/${message.replyTo}`).catch(() => undefined) // it is a help, no more
  return answer?.message?.content === undefined ? undefined : answer.message
}
