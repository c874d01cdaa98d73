// Every message of OpenClaw leaves through `post`: replies, replays after a crash, notices, sends that the agent starts.

const pieceBytes = 16 * 1024 - 1 // the server's limit of one message, less a slash

/**
 * The reply target of an answer names the wake that it ends, and OpenClaw stores the target with the answer. So an
 * answer that is sent again, even by another process, still ends that wake and no other. A notice wakes nobody.
 */
export const replyTarget = (replyTo, wakeId, notice) => [replyTo, wakeId, ...(notice ? ['notice'] : [])].join('~')

/**
 * Returns `post(message)`. A message is `{channelId, text, key?, replyTo?, wakeId?, notice?, keep?, signal?}`. With
 * `wakeId` it ends that wake in the same request, or is not stored; with `keep` the wake goes on. A `notice` wakes
 * nobody. The request is repeated until the server has answered. Returns the stored message, or null if the wake was
 * lost. Throws ApiError if the server refuses the message.
 */
export function poster({ api, holds }) {
  return async function post({ channelId, text, key, replyTo, wakeId, notice, keep, signal }) {
    const pieces = split(text)
    const mentions = Array.from(text.matchAll(/<@([\w.@-]{1,128})>/g), (match) => match[1])
    let message
    for (const [index, content] of pieces.entries()) {
      const more = index < pieces.length - 1
      const request = () => {
        const hold = wakeId && holds.get(channelId) // it may have a newer claim by now, with a new id
        const body = {
          content,
          replyTo,
          wakeId: hold?.covers(wakeId, replyTo) ? hold.wake.id : wakeId,
          keepWake: (wakeId && (keep || more)) || undefined,
          wake: notice || more ? 'none' : undefined,
          mentionUserIds: index && !more && mentions.length ? [...new Set(mentions)] : undefined,
        }
        return { body, headers: key && { 'Idempotency-Key': `${key}.${index}` } }
      }
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

/** Returns OpenClaw's `message.send.text`. `channelOf(to)` finds a target's channel, `receipt` makes OpenClaw's receipt. */
export function sender({ api, post, holds, channelOf, receipt, log }) {
  return async function send(ctx) {
    const channelId = await channelOf(ctx.to)
    let [replyTo, wakeId, mark] = ctx.replyToId?.split('~') ?? []
    const queued = ctx.deliveryQueueId // absent only on OpenClaw's own words, such as those about a restart
    if (queued && !replyTo) await holds.ready // it may be the answer of a resumed run, whose wake must be claimed first
    const held = holds.get(channelId)
    if (queued && holds.answers.get(channelId) === queued) wakeId = undefined // a further part of that answer
    if (!wakeId && queued && held && !held.ended && held.adopts()) {
      wakeId = held.wake.id
      replyTo ??= held.last.id
    }
    const hold = wakeId && held?.covers(wakeId, replyTo) ? held : undefined // none: it is an answer of an earlier process
    await ctx.onPlatformSendDispatch?.()
    ctx.assertDirectAdapterHandoff?.()
    try {
      const key = queued && `${queued}.${ctx.deliveryPartIndex ?? 0}`
      const notice = mark === 'notice' || !queued
      const message = await post({ channelId, text: ctx.text, key, replyTo, wakeId, notice, signal: ctx.signal })
      if (message && wakeId) holds.answers.set(channelId, queued)
      hold?.end(message ? 'posted' : 'lost')
      return message ? receipt(ctx.to, message) : { ...receipt(ctx.to), outcome: 'not_sent' }
    } catch (error) {
      if (wakeId && error.final) {
        const body = { outcome: 'declined', note: error.message.slice(0, 500) }
        await api.call('POST', `/api/wakes/${hold?.wake.id ?? wakeId}/ack`, body).catch(() => {}) // else the lease ends it
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
  let rest = Buffer.from(text)
  while (rest.length > pieceBytes) {
    let end = rest.lastIndexOf('\n', pieceBytes - 1) + 1
    if (end < pieceBytes / 2) end = pieceBytes
    while ((rest[end] & 0xc0) === 0x80) end-- // in the middle of a character
    pieces.push(rest.subarray(0, end))
    rest = rest.subarray(end)
  }
  return [...pieces, rest].map(String).map((piece) => (piece.startsWith('/') ? `/${piece}` : piece))
}
