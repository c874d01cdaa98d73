// The one function that posts: keys, fences, pieces, and sends that no run has asked for.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { split } from '../plugin/send.js'
import { Hold } from '../plugin/wakes.js'
import { channelId, fakeOpenClaw, fakeServer, problem, wakeOf } from './fakes.mjs'

const setUp = (answer) => {
  const server = fakeServer(answer)
  const claw = fakeOpenClaw(server, { script() {} })
  const send = (ctx) => claw.send({ to: `fabric:${channelId}`, text: 'HI', deliveryQueueId: 'q1', ...ctx })
  return { server, claw, send, bodies: () => server.posts().map(({ body }) => body) }
}

test('a message that the agent sends by itself ends no wake', async () => {
  const { claw, send, bodies } = setUp()
  await send({})
  assert.deepEqual(bodies(), [{ content: 'HI' }])
  assert.equal(claw.hold.ended, undefined)
})

test('words of OpenClaw itself wake nobody', async () => {
  const { send, bodies } = setUp()
  await send({ deliveryQueueId: undefined })
  assert.deepEqual(bodies(), [{ content: 'HI', wake: 'none' }])
})

test('a post is repeated with its key until the server has answered', async () => {
  let tries = 0
  const { server, send } = setUp(() => {
    tries++
    if (tries === 1) throw new TypeError('fetch failed')
    if (tries === 2) throw problem(503, 'shutting_down')
    if (tries === 3) throw problem(409, 'idempotency_in_flight')
  })
  await send({ replyToId: 'm1~w1', deliveryPartIndex: 2 })
  assert.equal(tries, 4)
  assert.deepEqual(new Set(server.posts().map(({ headers }) => headers['Idempotency-Key'])), new Set(['q1.2.0']))
})

test('a reply that is repeated goes under the newest claim of its work', async () => {
  const { claw, send, bodies } = setUp((_method, _path, body) => {
    if (body.wakeId !== 'w1') return
    claw.hold.wake = wakeOf({ id: 'w2' })
    throw problem(503, 'unavailable')
  })
  await send({ replyToId: 'm1~w1' })
  assert.deepEqual(
    bodies().map(({ wakeId }) => wakeId),
    ['w1', 'w2'],
  )
  assert.equal(claw.hold.ended, 'posted')
})

test('a reply of an earlier process ends its own wake, or the newer claim of its message', async () => {
  const { claw, send, bodies } = setUp()
  claw.holds.delete(channelId)
  await send({ replyToId: 'm1~w0' })
  claw.holds.set(channelId, new Hold(wakeOf({ id: 'w5' })))
  await send({ deliveryQueueId: 'q2', replyToId: 'm1~w4' })
  assert.deepEqual(
    bodies().map(({ wakeId }) => wakeId),
    ['w0', 'w5'],
  )
})

test('the answer of a resumed run waits until its wake is claimed', async () => {
  const { claw, send, bodies } = setUp()
  claw.holds.delete(channelId)
  claw.holds.ready = new Promise((resolve) => {
    claw.holds.caughtUp = resolve
  })
  const sent = send({})
  await new Promise(setImmediate)
  assert.deepEqual(bodies(), [])
  claw.hold.adopts = () => true
  claw.holds.set(channelId, claw.hold)
  claw.holds.caughtUp()
  await sent
  assert.deepEqual(bodies(), [{ content: 'HI', replyTo: 'm1', wakeId: 'w1' }])
})

test('a reply to a lost wake is not sent, and OpenClaw does not try again', async () => {
  const { send } = setUp(() => {
    throw problem(409, 'wake_lost')
  })
  const result = await send({ replyToId: 'm1~w0' })
  assert.equal(result.outcome, 'not_sent')
})

test('OpenClaw is asked right before the request, and can still forbid it', async () => {
  const { send, bodies } = setUp()
  const forbidden = { assertDirectAdapterHandoff: () => assert.fail('fenced') }
  await assert.rejects(send(forbidden), /fenced/)
  assert.deepEqual(bodies(), [])
})

test('a long answer is sent in pieces, and the last one ends the wake', async () => {
  const { server, send, bodies } = setUp()
  await send({ text: `<@bob> ${'line\n'.repeat(8000)}`, replyToId: 'm1~w1' })
  const all = bodies()
  assert.equal(all.length, 3)
  assert.deepEqual(
    all.map(({ keepWake }) => keepWake),
    [true, true, undefined],
  )
  assert.deepEqual(
    all.map(({ mentionUserIds }) => mentionUserIds),
    [undefined, undefined, ['bob']],
  )
  assert.deepEqual(
    server.posts().map(({ headers }) => headers['Idempotency-Key']),
    ['q1.0.0', 'q1.0.1', 'q1.0.2'],
  )
})

test('pieces fit the server, lose nothing, and cut no character', () => {
  for (const unit of ['a', 'é', '漢', '😀', 'a😀', 'words and\n']) {
    const text = unit.repeat(30_000)
    const pieces = split(text)
    assert.equal(pieces.join(''), text)
    for (const piece of pieces) {
      assert.ok(Buffer.byteLength(piece) <= 16 * 1024)
      assert.ok(piece.isWellFormed())
    }
  }
})

test('a leading slash is text, not a command', () => {
  assert.deepEqual(split('/pass'), ['//pass'])
})

test('the parts of an answer after the one that ended the wake are plain posts', async () => {
  const { claw, send, bodies } = setUp()
  await send({ replyToId: 'm1~w1' })
  claw.holds.delete(channelId)
  await send({ replyToId: 'm1~w1', deliveryPartIndex: 1 })
  assert.deepEqual(
    bodies().map(({ wakeId, replyTo }) => [wakeId, replyTo]),
    [
      ['w1', 'm1'],
      [undefined, 'm1'],
    ],
  )
})

test('of two answers to one wake, only the first is stored', async () => {
  const first = {
    'of a resumed run': { deliveryQueueId: 'q1' },
    'that an earlier process has stored': { deliveryQueueId: 'q1', replyToId: 'm1~w0' },
  }
  for (const [what, ctx] of Object.entries(first)) {
    let ended = false
    const { claw, send, bodies } = setUp((_method, _path, { wakeId }) => {
      if (wakeId && ended) throw problem(409, 'wake_lost')
      ended ||= wakeId === 'w1'
    })
    claw.hold.adopts = () => true
    await send(ctx)
    const result = await send({ deliveryQueueId: 'q2', replyToId: 'm1~w1' })
    assert.equal(result.outcome, 'not_sent', what)
    assert.deepEqual(
      bodies().map(({ wakeId }) => wakeId),
      ['w1', 'w1'],
      what,
    )
  }
})
