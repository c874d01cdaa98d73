// A server and an OpenClaw for the unit tests: both do what a test's script says, and record what they were asked.
import { ApiError, connect } from '../plugin/api.js'
import { worker } from '../plugin/run.js'
import { poster, sender } from '../plugin/send.js'
import { Hold, Holds } from '../plugin/wakes.js'

export const channelId = 'c1'

/** Answers requests by a script: `answer(method, path, body, headers)` returns the answer, or undefined for `{}`. */
export function fakeServer(answer = () => undefined) {
  const requests = []
  const api = connect({ url: 'http://guild.invalid', token: 't' })
  api.call = async (method, path, body, { headers = {} } = {}) => {
    requests.push({ method, path, body: body && JSON.parse(JSON.stringify(body)), headers })
    const scripted = await answer(method, path, body, headers)
    if (scripted) return scripted
    return path.endsWith('/messages') ? { message: { id: `p${requests.length}` } } : {}
  }
  const written = (end) => requests.filter(({ path }) => path.endsWith(end))
  return {
    api,
    requests,
    posts: () => written('/messages'),
    ends: () => requests.filter(({ path }) => /(ack|nack)$/.test(path)).map(({ path, body }) => [path, body]),
    written,
  }
}

export const problem = (status, code) => new ApiError(status, { code, detail: `words of the server about ${code}` })

export const wakeOf = (fields = {}) => ({
  id: 'w1',
  guildId: 'g1',
  channelId,
  name: 'ops',
  xType: 'general',
  reason: 'mention',
  attempt: 1,
  leaseMs: 60_000,
  more: false,
  last: 'm1',
  messages: [messageOf('m1')],
  context: [],
  ...fields,
})

export const messageOf = (id, fields = {}) => ({
  id,
  authorUserId: 'alice',
  authorKind: 'human',
  content: `text of ${id}`,
  createdAt: '2026-11-28T08:00:00.000Z',
  wakeup: true,
  wakeReason: 'mention',
  ...fields,
})

/**
 * OpenClaw with a worker on one hold. `script(turn, attempt)` plays the dispatch: `turn` has the plan, `adopt()`,
 * `lose(how)`, `answer(payload)` (on its way
 * through the delivery adapter and `message.send.text`), and `send(ctx)`.
 */
export function fakeOpenClaw(server, { wake = wakeOf(), script, session = () => undefined, worker: options } = {}) {
  const holds = new Holds()
  holds.caughtUp()
  const hold = new Hold(wake)
  holds.set(channelId, hold)
  const { api } = server
  const post = poster({ api, holds })
  const receipt = (to, message) => ({ messageId: message?.id ?? '', to })
  const channelOf = async (to) => to.replace(/^fabric:/, '')
  const send = (ctx) => sender({ api, post, holds, channelOf, receipt })(ctx) // as the plugin does
  const turns = []
  const answers = [] // as OpenClaw stores them
  let queue = 0

  const rt = {
    config: { current: () => ({ channels: {} }) },
    agent: { session: { getSessionEntry: (route) => session(route) } },
    channel: {
      commands: { isControlCommandMessage: (text) => text.startsWith('/') },
      routing: {
        resolveAgentRoute: ({ peer }) => ({ agentId: 'main', sessionKey: `agent:main:fabric:${peer.kind}:${peer.id}` }),
        buildAgentSessionKey: ({ peer, dmScope }) => `${dmScope}:${peer.id}`,
      },
      inbound: {
        ingress: { resolveStable: async (facts) => ({ facts, commandAccess: { authorized: true } }) },
        buildContext: (context) => context,
        async dispatch(plan) {
          const turn = {
            plan,
            adopt: () => plan.turnAdoptionLifecycle.onAdopted(),
            lose: (how = 'lost') => hold.end(how),
            send: (ctx) => send({ to: `fabric:${channelId}`, ...ctx }),
            async answer(payload, kind = 'final') {
              const prepared = await plan.delivery.preparePayload(payload, { kind })
              const durable = kind === 'final' && (await plan.delivery.durable(prepared, { kind }))
              if (!durable) return plan.delivery.deliver(prepared, { kind })
              const sent = { text: prepared.text, deliveryQueueId: `q${++queue}`, deliveryPartIndex: 0, ...durable }
              answers.push(sent)
              return send(sent)
            },
          }
          turns.push(turn)
          await script(turn, turns.length)
        },
      },
    },
  }
  const work = worker({ rt, api, post, me: 'claw', pollMs: 1, restMs: 1, ...options })
  return {
    hold,
    holds,
    post,
    send,
    turns,
    answers,
    work: () => work(hold),
    contexts: () => turns.map(({ plan }) => plan.ctxPayload),
  }
}
