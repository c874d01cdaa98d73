// Activity is throttled and refreshed; lookups find users, channels and dms.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { activity } from '../plugin/activity.js'
import { directory } from '../plugin/directory.js'
import { fakeServer } from './fakes.mjs'

const tick = async (t, ms) => {
  t.mock.timers.tick(ms)
  await new Promise(setImmediate)
}

test('a thousand parts of a draft are two requests per second, and the last one is shown', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval', 'Date'] })
  const server = fakeServer()
  const live = activity(server.api, 'c1', 'm1')
  for (let part = 1; part <= 1000; part++) {
    live.show('draft', 'word '.repeat(part))
    await tick(t, 10)
  }
  await tick(t, 500)
  const drafts = server.requests.map(({ body }) => body)
  assert.ok(drafts.length <= 22, `${drafts.length} requests in 10.5 seconds`)
  assert.ok(drafts.length >= 15, `${drafts.length} requests in 10.5 seconds`)
  assert.equal(drafts.at(-1).text.length, 1300)
  assert.ok(drafts.every(({ kind, replyTo, ttlSeconds }) => kind === 'draft' && replyTo === 'm1' && ttlSeconds === 20))
  await live.done(true)
  await tick(t, 60_000)
  assert.equal(server.requests.length, drafts.length)
})

test('a silent model is shown as busy until it ends', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval', 'Date'] })
  const server = fakeServer()
  const live = activity(server.api, 'c1', 'm1')
  live.show('thinking')
  await tick(t, 0)
  await tick(t, 10_000)
  await tick(t, 10_000)
  await live.done(false)
  assert.deepEqual(
    server.requests.map(({ body }) => body.kind),
    ['thinking', 'thinking', 'thinking', 'idle'],
  )
})

test('whom and where the agent can write', async () => {
  const server = fakeServer((method, path, body) => {
    if (method === 'POST') return { channel: { id: `dm-${body.memberUserIds[0]}-${body.guildId}` } }
    if (path.startsWith('/api/users?q=bo&')) return { items: [{ userId: 'bob', displayName: 'Bob' }], next: null }
    if (path.includes('after=c'))
      return { items: [{ id: 'c2', name: 'dup', xType: 'general', guildId: 'g1' }], next: null }
    const items = [
      { id: 'c1', name: 'ops', xType: 'general', guildId: 'g1' },
      { id: 'd1', name: '', xType: 'dm', guildId: 'g1' },
      { id: 'c3', name: 'dup', xType: 'general', guildId: 'g1' },
    ]
    return { items, next: 'c3' }
  })
  const { channelOf, peers, groups } = directory(server.api)
  assert.equal(await channelOf('fabric:c9'), 'c9')
  assert.equal(await channelOf('#ops'), 'c1')
  assert.equal(await channelOf('user:bob'), 'dm-bob-g1')
  await assert.rejects(channelOf('#dup'), /name of 2 channels/)
  await assert.rejects(channelOf('#none'), /name of 0 channels/)
  assert.deepEqual(await peers({ query: '@BO' }), [{ kind: 'user', id: 'user:bob', name: 'Bob' }])
  assert.deepEqual(
    (await groups({})).map(({ id }) => id),
    ['c1', 'c3', 'c2'],
  )
})
