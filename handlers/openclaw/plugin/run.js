// One wake is one turn of OpenClaw. An answer ends the wake by itself; this file ends it in all other cases.
import { setTimeout as sleep } from 'node:timers/promises'
import { activity } from './activity.js'
import { bodyOf, look, quoteOf, routeOf, turnOf } from './context.js'
import { replyTarget } from './send.js'

const lastAttempt = 5 // after it the wake is dead
const gracePolls = 10 // after the end of a run, because a post may be on its way

/**
 * Returns `work(hold)`, which hands one wake to OpenClaw, and returns when the wake has ended or was lost. `rt` is
 * OpenClaw's runtime, `me` the agent's user id. An abort of `signal` ends the pause after OpenClaw has refused work.
 */
export function worker({ rt, api, post, me, log, signal, pollMs = 500, restMs = 5000 }) {
  const memory = new Map() // by channel: the newest message that a run has `seen`, and the last `notice` of an error

  return async function work(hold) {
    const { wake } = hold
    const { channelId } = wake
    const known = memory.get(channelId) ?? {}
    memory.set(channelId, known)
    const { todo, unseen, overtaken } = look(wake, me, known)
    if (!todo.length) return end(hold, 'ack') // an earlier attempt has answered
    const cfg = rt.config.current()
    const route = routeOf(rt.channel, cfg, wake)
    const isCommand = rt.channel.commands.isControlCommandMessage(bodyOf(todo), cfg)
    const isRunning = () => rt.agent.session.getSessionEntry(route)?.status === 'running'
    const { show, done } = activity(api, channelId, hold.last.id)
    const turn = { adopted: false, failed: false, error: undefined, answers: 0 }
    const isAnswer = (payload, { kind }) => kind === 'final' && !turn.failed && !isNotice(payload)
    hold.adopts = () => !turn.adopted && isRunning() // OpenClaw has resumed the turn that a crash interrupted

    const delivery = {
      // The first answer ends the wake. The model may choose another message to reply to.
      preparePayload(payload, info) {
        if (!isAnswer(payload, info)) return payload
        const replyToId = payload.replyToId ?? hold.last.id
        return { ...payload, replyToId: turn.answers++ ? replyToId : replyTarget(replyToId, hold.wake.id, isCommand) }
      },
      durable: (payload, info) =>
        isAnswer(payload, info) && { to: `fabric:${channelId}`, replyToId: payload.replyToId },
      async deliver({ text, isError, isReasoning, isCommentary }) {
        if (isError || turn.failed) turn.error ??= text
        else if (!isReasoning && !isCommentary) await post({ channelId, text, notice: true, signal: hold.abort.signal })
        return { visibleReplySent: true } // else OpenClaw says once more that it could not answer
      },
      onError: (error) => log?.error?.(`delivery: ${error}`),
    }
    const onAdopted = () => {
      turn.adopted = true
      known.seen = wake.last
    }
    const replyOptions = {
      abortSignal: hold.abort.signal,
      disableBlockStreaming: true,
      onAgentRunStart: () => show('thinking'),
      onReasoningStream: () => show('thinking'),
      onToolStart: ({ name }) => show('tool', name),
      onPartialReply: ({ text }) => show('draft', text),
      onAgentRunTerminalOutcome(outcome) {
        turn.failed = outcome === 'failed'
      },
    }

    async function dispatch(messageId) {
      const quote = await quoteOf(api, wake, todo.at(-1))
      await rt.channel.inbound.dispatch({
        ...(await turnOf(rt.channel, { cfg, route, wake, todo, unseen, quote, messageId })),
        delivery,
        replyOptions,
        replyPipeline: { typing: { start: async () => show('typing'), onStartError() {} } },
        turnAdoptionLifecycle: { admission: 'exclusive', onAdopted, onDeferred() {}, onAbandoned() {} },
      })
    }

    try {
      await dispatch(hold.last.id)
      if (!hold.ended && isRunning()) await resumed(hold, isRunning)
      if (!hold.ended && !turn.adopted) {
        // OpenClaw has worked on this message before, in this process or in the one before a restart.
        if (overtaken && wake.attempt > 1) return await end(hold, 'ack')
        await dispatch(`${hold.last.id}~${hold.wake.id}`)
      }
      if (hold.ended === 'stopped') return await end(hold, 'ack')
      if (hold.ended === 'closing') return await end(hold, 'nack', { delaySeconds: 0 })
      if (hold.ended) return // posted, refused or lost
      if (turn.error !== undefined) return await fail(hold, turn.error, known)
      if (turn.answers) return await end(hold, 'nack', { error: 'the answer could not be sent', delaySeconds: 10 })
      if (turn.failed) return await fail(hold, 'the run failed', known)
      if (turn.adopted) return await end(hold, 'ack') // the model had nothing to say
      return await end(hold, 'nack', { error: 'OpenClaw did not take the message' })
    } catch (error) {
      if (hold.ended && hold.ended !== 'closing') return
      log?.warn?.(`OpenClaw takes no work: ${error.message}`)
      await end(hold, 'nack', { error: error.name, delaySeconds: 5 }) // it stops or starts: the attempt does not count
      await sleep(restMs, undefined, { signal }).catch(() => {})
    } finally {
      await done(hold.ended === 'posted')
    }
  }

  /** Waits for the end of the run that OpenClaw has resumed by itself. What that run posts ends the wake. */
  async function resumed(hold, isRunning) {
    hold.adopts = () => true
    for (let polls = gracePolls; polls > 0 && !hold.ended; polls--) {
      if (isRunning()) polls = gracePolls
      await sleep(pollMs)
    }
    hold.adopts = () => false
  }

  /** Gives the wake back. After the last attempt it is dead, and everyone is told why. */
  async function fail(hold, text, known) {
    const { id, attempt, channelId } = hold.wake
    if (attempt >= lastAttempt) {
      const notice = await post({ channelId, text, key: `${id}.error`, wakeId: id, keep: true, notice: true })
      known.notice = notice?.id
    }
    await end(hold, 'nack', { error: text.slice(0, 500) })
  }

  /** Ends the wake without an answer. If the server cannot be reached for a minute, the end of the lease does it. */
  async function end(hold, verb, body = {}) {
    hold.end(verb)
    const { id } = hold.wake
    await api
      .persist('POST', `/api/wakes/${id}/${verb}`, () => ({ body }), { limitMs: 60_000 })
      .catch((error) => {
        if (error.code !== 'wake_lost') log?.warn?.(`${verb} of ${id}: ${error.message}`)
      })
  }
}

/** Tells OpenClaw's own words from the agent's: errors, status lines, thoughts. */
const isNotice = ({ isError, isStatusNotice, isCompactionNotice, isFallbackNotice, isReasoning, isCommentary }) =>
  isError || isStatusNotice || isCompactionNotice || isFallbackNotice || isReasoning || isCommentary
