// Requests: what is final, and how long to wait before the next attempt.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { backoffMs, connect } from '../plugin/api.js'

/** Serves `answers` in their order, each `[status, headers, body]`, and `{}` after them, for an account. */
async function serving(t, answers, account) {
  const server = createServer((_request, response) => {
    const [status, headers, body] = answers.shift() ?? [200, {}, '{}']
    response.writeHead(status, headers).end(body)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return connect({ url: `http://127.0.0.1:${server.address().port}`, token: 't', ...account })
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

test('a request waits for a new token in the file, and does not wait without a file', async (t) => {
  const tokenFile = join(tmpdir(), `token-${process.pid}`)
  await writeFile(tokenFile, '') // it is being written
  t.after(() => rm(tokenFile))
  const problem = JSON.stringify({ code: 'token_expired', detail: 'get a new one' })
  const refused = [401, { 'Content-Type': 'application/problem+json' }, problem]
  const api = await serving(t, [refused], { tokenFile })
  assert.deepEqual(await api.persist('POST', '/', () => ({ body: {} })), {})
  assert.equal((await refusal(t, ...refused)).final, true)
})

test('an error says why there was no answer', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${server.address().port}`
  server.close()
  await once(server, 'close')
  const message = `no answer from ${url}: connect ECONNREFUSED ${url.slice(7)}`
  await assert.rejects(connect({ url, token: 't' }).call('GET', '/'), { message })
})
