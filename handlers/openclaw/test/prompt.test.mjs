// What a run gets to read.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bodyOf, look, quoteOf } from '../plugin/context.js'
import { fakeOpenClaw, fakeServer, messageOf, wakeOf } from './fakes.mjs'

const ids = (messages) => messages.map(({ id }) => id)
const other = (id, fields) => messageOf(id, { wakeup: false, wakeReason: 'not_mentioned', ...fields })
const own = (id, fields) => other(id, { authorUserId: 'claw', ...fields })

test('the context is what the agent has not seen', () => {
  const context = [other('a'), own('b'), other('c'), messageOf('d'), other('e', { content: undefined }), other('f')]
  const wake = wakeOf({ context })
  assert.deepEqual(ids(look(wake, 'claw').unseen), ['c', 'f']) // after its own last post
  assert.deepEqual(ids(look(wake, 'claw', { seen: 'a' }).unseen), ['c', 'f']) // b is its own, d has its own run, e was deleted
  assert.deepEqual(ids(look(wake, 'claw', { seen: 'c' }).unseen), ['f'])
  assert.deepEqual(ids(look(wake, 'claw', { seen: 'older' }).unseen), ['a', 'c', 'f'])
})

test('only messages that nobody has answered are work', () => {
  const messages = [messageOf('m1'), messageOf('m2'), messageOf('m3')]
  assert.deepEqual(ids(look(wakeOf({ messages }), 'claw').todo), ['m1', 'm2', 'm3'])
  const context = [own('p', { replyTo: 'm2' }), other('q', { authorUserId: 'bob', replyTo: 'm3' })]
  assert.deepEqual(ids(look(wakeOf({ messages, context }), 'claw').todo), ['m3'])
})

test('several messages are one text with their authors', () => {
  assert.equal(bodyOf([messageOf('m1')]), 'text of m1')
  const messages = [
    messageOf('m1', { authorName: 'Alice' }),
    messageOf('m2', { authorUserId: 'log-agent', authorKind: 'agent' }),
  ]
  assert.equal(bodyOf(messages), 'Alice: text of m1\n\nlog-agent (agent): text of m2')
})

async function contextOf(wake, answer) {
  const claw = fakeOpenClaw(fakeServer(answer), { wake, script: (turn) => turn.adopt() })
  await claw.work()
  return claw.contexts()[0]
}

test('names, kinds, the quoted message and the context reach OpenClaw', async () => {
  const context = await contextOf(
    wakeOf({
      messages: [messageOf('m1', { authorUserId: 'bot', authorName: 'Log agent', authorKind: 'agent', replyTo: 'm0' })],
      context: [other('m0', { authorName: 'Alice' }), other('a')],
    }),
  )
  assert.deepEqual(context.sender, { id: 'bot', name: 'Log agent (agent)', isBot: true })
  assert.deepEqual(context.supplemental.quote, { id: 'm0', body: 'text of m0', sender: 'Alice', isQuote: true })
  assert.deepEqual(
    context.message.inboundHistory.map(({ sender, body }) => `${sender}: ${body}`),
    ['Alice: text of m0', 'alice: text of a'],
  )
  assert.equal(context.conversation.label, '#ops')
  assert.equal(context.route.routeSessionKey, 'agent:main:fabric:group:c1')
})

test('each dm has its own session', async () => {
  const context = await contextOf(wakeOf({ xType: 'dm', name: '' }))
  assert.equal(context.route.routeSessionKey, 'per-account-channel-peer:c1')
  assert.equal(context.conversation.kind, 'direct')
})

test('a quoted message that the wake does not have is read from the server', async () => {
  const wake = wakeOf({ messages: [messageOf('m1', { replyTo: 'old' })] })
  const { api, requests } = fakeServer(() => ({ message: messageOf('old') }))
  assert.equal((await quoteOf(api, wake, wake.messages[0])).content, 'text of old')
  assert.equal(requests[0].path, '/api/messages/old')
  const gone = fakeServer(() => {
    throw new Error('404')
  })
  assert.equal(await quoteOf(gone.api, wake, wake.messages[0]), undefined)
})
