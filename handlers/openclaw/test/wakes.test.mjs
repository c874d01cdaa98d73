// The claim loop and the lease.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Hold, Holds, keepLease, serve } from '../plugin/wakes.js'
import { fakeServer, messageOf, problem, wakeOf } from './fakes.mjs'

/** Runs the loop on scripted claims. A claim is a wake, null or an error; after the last one the loop is stopped. */
async function loop(claims, work, options = {}) {
  const stop = new AbortController()
  const server = fakeServer(async (_method, path) => {
    if (!path.endsWith('/claim')) return { gone: [], leaseMs: 60_000 }
    if (!claims.length) {
      stop.abort()
      throw new Error('aborted')
    }
    const claim = claims.shift()
    if (claim instanceof Error) throw claim
    return { wake: typeof claim === 'function' ? await claim() : claim }
  })
  const holds = new Holds()
  const reports = []
  const pauses = []
  const pause = async (ms) => {
    pauses.push(ms)
    await new Promise(setImmediate)
  }
  const report = (state) => reports.push(state)
  const start = async () => work
  await serve({ api: server.api, holds, start, concurrency: 2, signal: stop.signal, report, pause, ...options })
  return { server, holds, reports, pauses, claims: server.written('/claim').map(({ body }) => body) }
}

const wakeIn = (channelId, fields) => wakeOf({ id: `w-${channelId}`, channelId, ...fields })

test('every claim names the program and its run, and only the first ones do not wait', async () => {
  const { claims } = await loop([wakeIn('c1'), null, null], async () => {})
  assert.deepEqual(
    claims.slice(0, 4).map(({ waitSeconds }) => waitSeconds),
    [0, 0, 30, 30],
  )
  assert.equal(new Set(claims.map(({ worker, instance }) => `${worker}/${instance}`)).size, 1)
  assert.match(claims[0].instance, /^[0-9a-f-]{36}$/)
})

test('as many channels are worked on at a time as the account allows', async () => {
  let now = 0
  let most = 0
  const wakes = ['a', 'b', 'c', 'd', 'e'].map((channel) => wakeIn(channel))
  await loop(wakes, async () => {
    now++
    most = Math.max(most, now)
    await new Promise(setImmediate)
    await new Promise(setImmediate)
    now--
  })
  assert.equal(most, 2)
})

test('a wake that this process still works on continues under its newer claim', async () => {
  let finish
  const seen = []
  const again = () => {
    setImmediate(() => finish())
    return wakeIn('c1', { id: 'w2' })
  }
  await loop([wakeIn('c1', { id: 'w1' }), again], async (hold) => {
    await new Promise((resolve) => {
      finish = resolve
    })
    seen.push(hold.wake.id)
  })
  assert.deepEqual(seen, ['w2'])
})

test('a newer claim with more messages replaces the run', async () => {
  const ended = []
  const more = wakeIn('c1', { id: 'w2', messages: [messageOf('m1'), messageOf('m2')] })
  await loop([wakeIn('c1', { id: 'w1' }), more], async (hold) => {
    if (hold.wake.id === 'w1') await once(hold.abort.signal, 'abort')
    ended.push([hold.wake.id, hold.ended])
  })
  assert.deepEqual(ended, [
    ['w1', 'lost'],
    ['w2', undefined],
  ])
})

test('the words of the server are reported, and the loop goes on', async () => {
  const { reports } = await loop([problem(401, 'token_expired'), null], async () => {})
  assert.deepEqual(reports.slice(0, 2), [
    { connected: false, lastError: 'token_expired: words of the server about token_expired' },
    { connected: true, lastError: null },
  ])
})

test('a server that does not answer is asked less and less often, and not before it wants', async () => {
  const later = Object.assign(problem(503, 'server_full'), { retryAfterMs: 90_000 })
  const { pauses } = await loop([...Array(8).fill(new TypeError('fetch failed')), later], async () => {})
  assert.ok(pauses[0] >= 125 && pauses[0] <= 375, pauses)
  assert.ok(pauses[7] >= 15_000 && pauses[7] <= 45_000, pauses)
  assert.equal(pauses[8], 90_000)
})

test('work that throws does not stop the loop', async () => {
  const worked = []
  await loop([wakeIn('a'), null, wakeIn('b'), null], async (hold) => {
    worked.push(hold.wake.channelId)
    throw new Error('a bug')
  })
  assert.deepEqual(worked, ['a', 'b'])
})

test('the end of the account ends what is held', async () => {
  const ended = []
  await loop([wakeIn('a')], async (hold) => {
    if (!hold.ended) await once(hold.abort.signal, 'abort')
    ended.push(hold.ended)
  })
  assert.deepEqual(ended, ['closing'])
})

const tick = async (t, ms) => {
  t.mock.timers.tick(ms)
  await new Promise(setImmediate)
}

async function lease(t, answer) {
  t.mock.timers.enable({ apis: ['setInterval'] })
  const server = fakeServer(answer)
  const hold = new Hold(wakeOf())
  const release = keepLease(server.api, hold)
  return { hold, release, extends: () => server.written('/extend') }
}

test('the lease is extended until the hold ends', async (t) => {
  const { hold, extends: extended } = await lease(t, () => ({ gone: [], stop: false }))
  await tick(t, 14_999)
  assert.equal(extended().length, 0)
  await tick(t, 1)
  await tick(t, 15_000)
  assert.deepEqual(
    extended().map(({ body }) => body),
    [{ leaseSeconds: 120 }, { leaseSeconds: 120 }],
  )
  hold.end('posted')
  await tick(t, 60_000)
  assert.equal(extended().length, 2)
})

test('a stop, a loss and deleted messages end the run', async (t) => {
  const cases = [
    [() => ({ stop: true, gone: [] }), 'stopped'],
    [() => ({ stop: false, gone: ['m1'] }), 'stopped'],
    [
      () => {
        throw problem(409, 'wake_lost')
      },
      'lost',
    ],
  ]
  for (const [answer, how] of cases) {
    await t.test(how, async (t) => {
      const { hold } = await lease(t, answer)
      await tick(t, 15_000)
      assert.equal(hold.ended, how)
      assert.equal(hold.abort.signal.aborted, true)
    })
  }
})

test('an unreachable server does not end the run, and is asked again', async (t) => {
  const { hold, extends: extended } = await lease(t, () => {
    throw new TypeError('fetch failed')
  })
  await tick(t, 15_000)
  await tick(t, 15_000)
  assert.equal(extended().length, 2)
  assert.equal(hold.ended, undefined)
  hold.end('posted')
})

test('after an hour the run goes on without extensions, until it has a new claim', async (t) => {
  const { hold, extends: extended } = await lease(t, (_method, path) => {
    if (path.includes('w1')) throw problem(409, 'lease_limit')
    return { gone: [], stop: false }
  })
  await tick(t, 15_000)
  await tick(t, 60_000)
  assert.equal(extended().length, 1)
  assert.equal(hold.ended, undefined)
  hold.wake = wakeOf({ id: 'w2' })
  await tick(t, 15_000)
  assert.equal(extended().length, 2)
  hold.end('posted')
})

test('a send does not wait for claims after the end of the account', async () => {
  const { holds } = await loop([], async () => {})
  await holds.ready
})
