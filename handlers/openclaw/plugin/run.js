// One wake is one turn of OpenClaw. An answer ends the wake by itself; this file ends it in all other cases.
import { setTimeout as sleep } from 'node:timers/promises'
import { activity } from './activity.js'
import { quoteOf, routeOf, turnOf } from './context.js'
import { bodyOf, look } from './prompt.js'
import { replyTarget } from './send.js'

const lastAttempt = 5 // after it the wake is dead
const remembered = 1000 // channels

/**
 * Returns `work(hold)`, which hands one wake to OpenClaw, and returns when the wake has ended or was lost. `rt` is
 * OpenClaw's runtime, `me` the agent's user id. It returns 'backoff' if OpenClaw takes no work at the moment.
 */
export function worker({ rt, api, post, me, accountId, log, pollMs = 500, graceMs = 5000 }) {
  const seen = new Map() // channel → the newest message that a run there has seen
  const errors = new Map() // ids of posted errors, which answer nothing

  return async function work(hold) {
    const { wake } = hold
    const { channelId } = wake
    const context = wake.context.filter((message) => !errors.has(message.id))
    const { todo, unseen, overtaken } = look({ ...wake, context }, me, seen.get(channelId))
    if (!todo.length) return end(hold, 'ack') // an earlier attempt has answered
    const cfg = rt.config.current()
    const route = routeOf(rt, cfg, accountId, wake)
    const isRunning = () => rt.agent.session.getSessionEntry(route)?.status === 'running'
    const command = rt.channel.commands.isControlCommandMessage(bodyOf(todo), cfg)
    const live = activity(api, channelId, hold.last.id)
    const show = (kind, text) => {
      hold.doing = kind === 'tool' ? `uses ${text}` : kind
      live.show(kind, text)
    }
    const turn = { adopted: false, failed: false, error: undefined, answers: 0 }
    const isAnswer = (payload, info) => !turn.failed && isFinalText(payload, info)
    hold.adopts = () => !turn.adopted && isRunning() // OpenClaw has resumed the turn that a crash interrupted

    async function dispatch(messageId) {
      const quote = await quoteOf(api, wake, todo.at(-1))
      await rt.channel.inbound.dispatch({
        ...(await turnOf({ rt, cfg, accountId, route, wake, todo, unseen, quote, messageId })),
        replyPipeline: { typing: { start: async () => show('typing'), onStartError() {} } },
        turnAdoptionLifecycle: {
          admission: 'exclusive',
          onAdopted() {
            turn.adopted = true
            remember(seen, channelId, wake.last)
          },
          onDeferred() {},
          onAbandoned() {},
        },
        replyOptions: {
          abortSignal: hold.abort.signal,
          disableBlockStreaming: true,
          onAgentRunStart: () => show('thinking'),
          onAgentRunTerminalOutcome(outcome) {
            turn.failed = outcome === 'failed'
          },
          onReasoningStream: () => show('thinking'),
          onToolStart: ({ name }) => show('tool', name),
          onPartialReply: (partial) => show('draft', () => partial.text),
        },
        delivery: {
          // The first answer ends the wake. The model may choose another message to reply to.
          preparePayload(payload, info) {
            if (!isAnswer(payload, info)) return payload
            const replyToId = payload.replyToId ?? hold.last.id
            return { ...payload, replyToId: turn.answers++ ? replyToId : replyTarget(replyToId, hold, command) }
          },
          durable: (payload, info) =>
            isAnswer(payload, info) && { to: `fabric:${channelId}`, replyToId: payload.replyToId },
          async deliver(payload) {
            if (payload.isError || turn.failed) turn.error ??= payload.text
            else if (!payload.isReasoning && !payload.isCommentary) {
              await post({ channelId, text: payload.text, notice: true, signal: hold.abort.signal })
            }
            return { visibleReplySent: true } // else OpenClaw says once more that it could not answer
          },
          onError: (error) => log?.error?.(`delivery: ${error}`),
        },
        record: { onRecordError: (error) => log?.error?.(`record: ${error}`) },
      })
    }

    try {
      await dispatch(hold.last.id)
      if (!hold.ended && isRunning()) await resumed(hold, isRunning)
      if (!hold.ended && !turn.adopted) {
        // OpenClaw has worked on this message before, in this process or in the one before a restart.
        if (overtaken && wake.attempt > 1) return await end(hold, 'ack')
        await dispatch(`${hold.last.id}~${hold.id}`)
      }
      if (hold.ended === 'stopped') return await end(hold, 'ack')
      if (hold.ended === 'closing') return await end(hold, 'nack', { delaySeconds: 0 })
      if (hold.ended) return // posted, refused or lost
      if (turn.error !== undefined) return await fail(hold, turn.error)
      if (turn.answers) return await end(hold, 'nack', { error: 'the answer could not be sent', delaySeconds: 10 })
      if (turn.adopted) return await end(hold, 'ack') // the model had nothing to say
      return await end(hold, 'nack', { error: 'OpenClaw did not take the message' })
    } catch (error) {
      if (hold.ended && hold.ended !== 'closing') return
      log?.warn?.(`OpenClaw takes no work: ${error.message}`)
      await end(hold, 'nack', { error: error.name, delaySeconds: 5 }) // it stops or starts: the attempt does not count
      return 'backoff'
    } finally {
      await live.end(hold.ended === 'posted')
    }
  }

  /** Waits for the end of the run that OpenClaw has resumed by itself. What that run posts ends the wake. */
  async function resumed(hold, isRunning) {
    hold.adopts = () => true
    while (!hold.ended && isRunning()) await sleep(pollMs)
    await Promise.race([hold.over, sleep(graceMs)]) // a post may be on its way
    hold.adopts = () => false
  }

  async function fail(hold, text) {
    const { id, wake } = hold
    if (wake.attempt >= lastAttempt) {
      const { channelId } = wake
      const notice = await post({ channelId, text, key: `${id}.error`, wakeId: id, keep: true, notice: true })
      if (notice) remember(errors, notice.id, true)
    }
    await end(hold, 'nack', { error: text.slice(0, 500) })
  }

  /** Ends the wake without an answer. If the server cannot be reached for a minute, the end of the lease does it. */
  async function end(hold, verb, body = {}) {
    hold.end(verb)
    try {
      await api.persist('POST', `/api/wakes/${hold.id}/${verb}`, () => ({ body }), { limitMs: 60_000 })
    } catch (error) {
      if (error.code !== 'wake_lost') log?.warn?.(`${verb} of ${hold.id}: ${error.message}`)
    }
  }
}

/** Tells the agent's answers from OpenClaw's own words: errors, status lines, reports of tools. */
function isFinalText(payload, { kind }) {
  const { isError, isStatusNotice, isCompactionNotice, isFallbackNotice, isReasoning, isCommentary } = payload
  const notice = isError || isStatusNotice || isCompactionNotice || isFallbackNotice || isReasoning || isCommentary
  return kind === 'final' && !notice
}

function remember(map, key, value) {
  map.delete(key)
  map.set(key, value)
  if (map.size > remembered) map.delete(map.keys().next().value)
}
