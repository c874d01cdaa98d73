// Every message of OpenClaw leaves through `post`: replies, replays after a crash, notices, sends that the agent starts.
import { ApiError } from './api.js'

const pieceBytes = 16 * 1024 // the server's limit of one message

/**
 * The reply target of an answer names the wake that it ends, and OpenClaw stores the target with the answer. So an
 * answer that is sent again, even by another process, still ends that wake and no other. A notice wakes nobody.
 */
export const replyTarget = (replyTo, hold, notice) => [replyTo, hold.id, ...(notice ? ['notice'] : [])].join('~')

/**
 * Returns `post(message)`. A message is `{channelId, text, key?, replyTo?, wakeId?, notice?, keep?, signal?}`. With
 * `wakeId` it ends that wake in the same request, or is not stored; with `keep` the wake goes on. A `notice` wakes
 * nobody. The request is repeated until the server has answered. Returns the stored message, or null if the wake was
 * lost. Throws ApiError if the server refuses the message.
 */
export function poster({ api, holds }) {
  return async function post({ channelId, text, key, replyTo, wakeId, notice, keep, signal }) {
    const pieces = split(text)
    const mentions =
      pieces.length > 1 ? new Set(Array.from(text.matchAll(/<@([\w.@-]{1,128})>/g), (match) => match[1])) : []
    let message
    for (const [index, content] of pieces.entries()) {
      const last = index === pieces.length - 1
      const keepWake = wakeId && (keep || !last)
      const request = () => ({
        headers: key && { 'Idempotency-Key': `${key}.${index}` },
        body: {
          content,
          ...(replyTo && { replyTo }),
          ...(wakeId && { wakeId: holds.covering(channelId, wakeId, replyTo)?.id ?? wakeId }), // a newer claim has a new id
          ...(keepWake && { keepWake }),
          ...(notice && !keepWake && { wake: 'none' }),
          ...(last && mentions.size && { mentionUserIds: [...mentions] }),
        },
      })
      try {
        message = (await api.persist('POST', `/api/channels/${channelId}/messages`, request, { signal })).message
      } catch (error) {
        if (error.code === 'wake_lost') return null
        throw error
      }
    }
    return message
  }
}

/**
 * Returns OpenClaw's `message.send.text`. `channelOf(to)` resolves a target to a channel's id, and `receipt(messages, to)`
 * makes OpenClaw's receipt.
 */
export function sender({ api, post, holds, channelOf, receipt, log }) {
  return async function send(ctx) {
    const channelId = await channelOf(ctx.to)
    let [replyTo, wakeId, mark] = (ctx.replyToId ?? '').split('~')
    const queued = ctx.deliveryQueueId // absent only on OpenClaw's own words, such as those about a restart
    if (queued && !replyTo) await holds.ready // it may be the answer of a resumed run, whose wake must be claimed first
    if (holds.posted.has(wakeId))
      wakeId = undefined // a further answer of the same run
    else if (!wakeId && queued) {
      const hold = holds.get(channelId)
      if (hold && !hold.ended && hold.adopts()) {
        wakeId = hold.id
        replyTo ||= hold.last.id
      }
    }
    const hold = wakeId && holds.covering(channelId, wakeId, replyTo)
    await ctx.onPlatformSendDispatch?.()
    ctx.assertDirectAdapterHandoff?.()
    try {
      const message = await post({
        channelId,
        text: ctx.text,
        key: queued && `${queued}.${ctx.deliveryPartIndex ?? 0}`,
        replyTo,
        wakeId,
        notice: mark === 'notice' || !queued,
        signal: ctx.signal,
      })
      if (message && wakeId) holds.endByPost(hold, wakeId)
      if (!message) hold?.end('lost')
      return message ? receipt([message], ctx.to) : { ...receipt([], ctx.to), outcome: 'not_sent' }
    } catch (error) {
      if (wakeId && error instanceof ApiError && !error.passing) {
        const body = { outcome: 'declined', note: error.message.slice(0, 500) }
        await api.call('POST', `/api/wakes/${hold?.id ?? wakeId}/ack`, body).catch(() => {}) // else the lease ends it
        hold?.end('refused')
      }
      log?.error?.(`send: ${error.message}`)
      throw error
    }
  }
}

/** Splits a text into pieces that the server takes, at line ends where possible. A leading slash is no command here. */
export function split(text) {
  const pieces = []
  let rest = text
  while (Buffer.byteLength(rest) >= pieceBytes) {
    let end = pieceBytes / 4 // no character needs more than 3 bytes per UTF-16 unit
    while (end < rest.length && Buffer.byteLength(rest.slice(0, end + 256)) < pieceBytes) end += 256
    const line = rest.lastIndexOf('\n', end)
    if (line > end / 2) end = line + 1
    else if (/[\uD800-\uDBFF]/.test(rest[end - 1])) end--
    pieces.push(rest.slice(0, end))
    rest = rest.slice(end)
  }
  pieces.push(rest)
  return pieces.map((piece) => (piece.startsWith('/') ? `/${piece}` : piece))
}
