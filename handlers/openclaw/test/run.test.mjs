// What a dispatch means: every way in which OpenClaw can treat a wake, and how the wake ends.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fakeOpenClaw, fakeServer, messageOf, problem, wakeOf } from './fakes.mjs'

async function play(options, answer) {
  const server = fakeServer(answer)
  const claw = fakeOpenClaw(server, options)
  await claw.work()
  return { server, claw, posts: server.posts(), ends: server.ends() }
}

const answered = async (turn) => {
  turn.adopt()
  await turn.answer({ text: 'HI' })
}

test('an answer and the end of its wake are one request', async () => {
  const { posts, ends, claw } = await play({ script: answered })
  assert.deepEqual(posts[0].body, { content: 'HI', replyTo: 'm1', wakeId: 'w1' })
  assert.deepEqual(posts[0].headers, { 'Idempotency-Key': 'q1.0.0' })
  assert.equal(posts.length, 1)
  assert.deepEqual(ends, [])
  assert.equal(claw.hold.ended, 'posted')
})

test('a model that chooses its reply target still ends the wake', async () => {
  const { posts, ends } = await play({
    async script(turn) {
      turn.adopt()
      await turn.answer({ text: 'HI', replyToId: 'm0' })
    },
  })
  assert.deepEqual(posts[0].body, { content: 'HI', replyTo: 'm0', wakeId: 'w1' })
  assert.deepEqual(ends, [])
})

test('a second answer of the same run is a plain post', async () => {
  const { posts, claw } = await play({
    async script(turn) {
      turn.adopt()
      await turn.answer({ text: 'one' })
      await turn.answer({ text: 'two' })
    },
  })
  assert.deepEqual(
    posts.map(({ body }) => body),
    [
      { content: 'one', replyTo: 'm1', wakeId: 'w1' },
      { content: 'two', replyTo: 'm1' },
    ],
  )
  assert.deepEqual(
    claw.answers.map(({ replyToId }) => replyToId),
    ['m1~w1', 'm1'], // so it is not lost if another process sends it
  )
})

const failing = async (turn) => {
  turn.adopt()
  await turn.answer({ text: 'LLM request failed', isError: true })
}

test('an error of the model gives the wake back and posts nothing', async () => {
  const { posts, ends } = await play({ script: failing })
  assert.deepEqual(posts, [])
  assert.deepEqual(ends, [['/api/wakes/w1/nack', { error: 'LLM request failed' }]])
})

test('what a failed run says is an error, whatever OpenClaw calls it', async () => {
  const { posts, ends } = await play({
    async script(turn) {
      turn.adopt()
      turn.plan.replyOptions.onAgentRunTerminalOutcome('failed')
      const shown = await turn.answer({ text: 'LLM request failed', isError: true })
      assert.equal(shown.visibleReplySent, true) // so that the next line does not come
      await turn.answer({ text: 'could not produce a reply' })
    },
  })
  assert.deepEqual(posts, [])
  assert.deepEqual(ends, [['/api/wakes/w1/nack', { error: 'LLM request failed' }]])
})

test('a run that fails without a word gives the wake back', async () => {
  const { ends } = await play({
    script(turn) {
      turn.adopt()
      turn.plan.replyOptions.onAgentRunTerminalOutcome('failed')
    },
  })
  assert.deepEqual(ends, [['/api/wakes/w1/nack', { error: 'the run failed' }]])
})

test('an error at the last attempt is posted as a notice, and the wake dies', async () => {
  const { posts, ends } = await play({ script: failing, wake: wakeOf({ attempt: 5 }) })
  assert.deepEqual(posts[0].body, { content: 'LLM request failed', wakeId: 'w1', keepWake: true, wake: 'none' })
  assert.deepEqual(posts[0].headers, { 'Idempotency-Key': 'w1.error.0' })
  assert.deepEqual(ends, [['/api/wakes/w1/nack', { error: 'LLM request failed' }]])
})

test('the notice of an error does not count as an answer when the dead wake is retried', async () => {
  const server = fakeServer()
  const dying = fakeOpenClaw(server, { script: failing, wake: wakeOf({ attempt: 5 }) })
  await dying.work()
  const context = [messageOf('p1', { authorUserId: 'claw', wakeup: undefined })]
  const script = (turn, attempt) => (attempt === 1 ? undefined : answered(turn))
  const { posts } = await play({ wake: wakeOf({ context, attempt: 1 }), script })
  assert.equal(posts[0].body.content, 'HI')
})

test('an answer after an error counts', async () => {
  const { posts, ends } = await play({
    async script(turn) {
      turn.adopt()
      await turn.answer({ text: 'a tool failed', isError: true })
      await turn.answer({ text: 'HI' })
    },
  })
  assert.equal(posts.length, 1)
  assert.equal(posts[0].body.wakeId, 'w1')
  assert.deepEqual(ends, [])
})

test('a model that has nothing to say acks the wake', async () => {
  const { posts, ends } = await play({ script: (turn) => turn.adopt() })
  assert.deepEqual(posts, [])
  assert.deepEqual(ends, [['/api/wakes/w1/ack', {}]])
})

test('a status line of OpenClaw wakes nobody and ends nothing', async () => {
  const { posts, ends } = await play({
    async script(turn) {
      turn.adopt()
      await turn.answer({ text: 'compacting', isCompactionNotice: true })
      await turn.answer({ text: 'tool output' }, 'tool')
      await turn.answer({ text: 'secret thoughts', isReasoning: true })
      await turn.answer({ text: 'HI' })
    },
  })
  assert.deepEqual(
    posts.map(({ body }) => body),
    [
      { content: 'compacting', wake: 'none' },
      { content: 'tool output', wake: 'none' },
      { content: 'HI', replyTo: 'm1', wakeId: 'w1' },
    ],
  )
  assert.deepEqual(ends, [])
})

test('a command of OpenClaw is answered with a notice that ends the wake', async () => {
  const wake = wakeOf({ messages: [messageOf('m1', { content: '/status' })] })
  const { posts, claw } = await play({ wake, script: answered })
  assert.deepEqual(posts[0].body, { content: 'HI', replyTo: 'm1', wakeId: 'w1', wake: 'none' })
  assert.equal(claw.contexts()[0].message.rawBody, '/status')
})

test('a lost wake aborts the run and sends nothing more', async () => {
  const { posts, ends } = await play({
    async script(turn, attempt) {
      turn.adopt()
      const { abortSignal } = turn.plan.replyOptions
      assert.equal(attempt, 1)
      turn.lose()
      assert.equal(abortSignal.aborted, true)
    },
  })
  assert.deepEqual(posts, [])
  assert.deepEqual(ends, [])
})

test('a stop aborts the run and acks', async () => {
  const { ends } = await play({
    script(turn) {
      turn.adopt()
      turn.lose('stopped')
      assert.equal(turn.plan.replyOptions.abortSignal.aborted, true)
    },
  })
  assert.deepEqual(ends, [['/api/wakes/w1/ack', {}]])
})

test('the end of the account aborts the run and gives the wake back without counting', async () => {
  const { ends } = await play({
    script(turn) {
      turn.adopt()
      turn.lose('closing')
    },
  })
  assert.deepEqual(ends, [['/api/wakes/w1/nack', { delaySeconds: 0 }]])
})

test('a dispatch that OpenClaw rejects is given back without counting', async () => {
  const { ends } = await play({
    script() {
      throw Object.assign(new Error('the gateway is draining'), { name: 'GatewayDrainingError' })
    },
  })
  assert.deepEqual(ends, [['/api/wakes/w1/nack', { error: 'GatewayDrainingError', delaySeconds: 5 }]])
})

test('an OpenClaw that takes no work keeps its place for a while, until the account ends', async () => {
  const stop = new AbortController()
  const server = fakeServer()
  const claw = fakeOpenClaw(server, {
    worker: { restMs: 600_000, signal: stop.signal },
    script() {
      throw new Error('the gateway is draining')
    },
  })
  let over = false
  const work = claw.work().then(() => {
    over = true
  })
  // Once the wake is given back, the work would end within a few rounds of the event loop if it did not pause.
  for (let rounds = 100; rounds > 0; rounds -= server.ends().length) await new Promise(setImmediate)
  assert.equal(over, false)
  stop.abort()
  await work
})

test('a message that OpenClaw has worked on before is dispatched under another id', async () => {
  const { posts, claw } = await play({
    wake: wakeOf({ attempt: 3 }),
    script: (turn, attempt) => (attempt === 1 ? undefined : answered(turn)),
  })
  assert.deepEqual(
    claw.turns.map(({ plan }) => plan.messageId),
    ['m1', 'm1~w1'],
  )
  assert.deepEqual(posts[0].body, { content: 'HI', replyTo: 'm1', wakeId: 'w1' })
})

test('a message that OpenClaw never takes is given back', async () => {
  const { ends } = await play({ script: () => {} })
  assert.deepEqual(ends, [['/api/wakes/w1/nack', { error: 'OpenClaw did not take the message' }]])
})

test('a run that OpenClaw resumes after a crash answers the wake', async () => {
  let status = 'running'
  const { posts, ends, claw } = await play({
    session: () => ({ status }),
    script(turn) {
      setImmediate(async () => {
        await turn.send({ text: 'I am continuing your interrupted request' }) // its notice has no queue id
        await turn.send({ text: 'HI', deliveryQueueId: 'q7', deliveryPartIndex: 0 })
        status = 'done'
      })
    },
  })
  assert.deepEqual(
    posts.map(({ body }) => body),
    [
      { content: 'I am continuing your interrupted request', wake: 'none' },
      { content: 'HI', replyTo: 'm1', wakeId: 'w1' },
    ],
  )
  assert.equal(claw.turns.length, 1)
  assert.deepEqual(ends, [])
})

test('a resumed run that says nothing is followed by a new one', async () => {
  let polls = 0
  const { posts, claw } = await play({
    session: () => ({ status: polls++ < 3 ? 'running' : 'failed' }),
    script: (turn, attempt) => (attempt === 1 ? undefined : answered(turn)),
  })
  assert.equal(claw.turns.length, 2)
  assert.equal(posts[0].body.wakeId, 'w1')
})

test('a message that joined a running turn is answered by that turn', async () => {
  let status = 'running'
  const { posts, ends } = await play({
    session: () => ({ status }),
    script(turn) {
      turn.adopt() // deferredToActiveRun: the dispatch resolves at once
      setImmediate(async () => {
        await turn.send({ text: 'both', deliveryQueueId: 'q7' })
        status = 'done'
      })
    },
  })
  assert.deepEqual(posts[0].body, { content: 'both', replyTo: 'm1', wakeId: 'w1' })
  assert.deepEqual(ends, [])
})

test('a message that an earlier attempt has answered is acked without a run', async () => {
  const context = [messageOf('p1', { authorUserId: 'claw', replyTo: 'm1', wakeup: undefined })]
  const { ends, claw } = await play({ wake: wakeOf({ context }), script: answered })
  assert.equal(claw.turns.length, 0)
  assert.deepEqual(ends, [['/api/wakes/w1/ack', {}]])
})

test('a refused message that the agent has posted after is acked', async () => {
  const context = [messageOf('m2', { authorUserId: 'claw', wakeup: undefined })]
  const { ends, claw } = await play({ wake: wakeOf({ context, attempt: 2 }), script: () => {} })
  assert.equal(claw.turns.length, 1)
  assert.deepEqual(ends, [['/api/wakes/w1/ack', {}]])
})

test('an answer that the server refuses for good declines the wake', async () => {
  const { ends } = await play({ script: (turn) => answered(turn).catch(() => {}) }, (_method, path) => {
    if (path.endsWith('/messages')) throw problem(403, 'not_member')
  })
  assert.deepEqual(ends, [
    ['/api/wakes/w1/ack', { outcome: 'declined', note: 'not_member: words of the server about not_member' }],
  ])
})

test('an answer whose wake was lost is not stored', async () => {
  let sent
  const { ends, claw } = await play(
    {
      async script(turn) {
        turn.adopt()
        sent = await turn.answer({ text: 'HI' })
      },
    },
    (_method, path) => {
      if (path.endsWith('/messages')) throw problem(409, 'wake_lost')
    },
  )
  assert.equal(sent.outcome, 'not_sent')
  assert.equal(claw.hold.ended, 'lost')
  assert.deepEqual(ends, [])
})

test('others see typing, thinking, tools and drafts, and the end of it', async () => {
  const { server } = await play({
    script(turn) {
      turn.adopt()
      turn.plan.replyPipeline.typing.start()
    },
  })
  const shown = server.written('/activity').map(({ body }) => body)
  assert.deepEqual(shown, [{ kind: 'typing', replyTo: 'm1', ttlSeconds: 20 }, { kind: 'idle' }])
})
