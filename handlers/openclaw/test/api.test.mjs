// Requests: what is final, and how long to wait before the next attempt.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { test } from 'node:test'
import { backoffMs, connect } from '../plugin/api.js'

/** Serves `answers` in their order, each `[status, headers, body]`, and `{}` after them. */
async function serving(t, answers) {
  const server = createServer((_request, response) => {
    const [status, headers, body] = answers.shift() ?? [200, {}, '{}']
    response.writeHead(status, headers).end(body)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return connect({ url: `http://127.0.0.1:${server.address().port}`, token: 't' })
}

const refusal = async (t, ...answer) => {
  const api = await serving(t, [answer])
  return api.call('POST', '/', {}).then(assert.fail, (error) => error)
}

test('a page of a proxy is not the word of the server', async (t) => {
  const page = await refusal(t, 404, { 'Content-Type': 'text/html' }, '<h1>not found</h1>')
  assert.equal(page.final, false)
  const problem = JSON.stringify({ code: 'not_member', detail: 'join first' })
  const own = await refusal(t, 403, { 'Content-Type': 'application/problem+json' }, problem)
  assert.equal(own.final, true)
})

test('a request goes on after the page of a proxy', async (t) => {
  const api = await serving(t, [[404, {}, 'deploying']])
  assert.deepEqual(await api.persist('POST', '/', () => ({ body: {} })), {})
})

test('a Retry-After that is a date or far away does not stop the backoff', async (t) => {
  const pauses = {
    'Wed, 21 Oct 2115 07:28:00 GMT': [125, 375],
    90: [90_000, 90_000],
    99999999999: [300_000, 300_000],
  }
  for (const [after, [least, most]] of Object.entries(pauses)) {
    const pause = backoffMs(0, await refusal(t, 503, { 'Retry-After': after }, ''))
    assert.ok(pause >= least && pause <= most, `${after}: ${pause} ms`)
  }
})
