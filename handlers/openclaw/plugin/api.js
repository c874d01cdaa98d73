// The guild's HTTP API: one request, or one that is repeated until the server has answered it.
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

const maxRetryAfterMs = 300_000

/** An answer that is not 2xx. The message is the server's own words; `code` is for programs. */
export class ApiError extends Error {
  constructor(status, { code, detail } = {}, { retryAfterSeconds = 0, renewable = false } = {}) {
    super(code ? `${code}: ${detail}` : `the server answered ${status}`)
    this.name = 'ApiError'
    this.code = code
    // The same request cannot succeed. A refusal without a code is not the server's own: a proxy's may pass.
    const passes = status >= 500 || status === 429 || (status === 401 && renewable) || code === 'idempotency_in_flight'
    this.final = Boolean(code) && !passes
    this.retryAfterMs = Math.min(1000 * retryAfterSeconds || 0, maxRetryAfterMs) // a date, which proxies send, is NaN
  }
}

/** Returns the pause after a number of failures in a row: about 0.25 to 30 seconds, and at least what the server asks for. */
export function backoffMs(failures, { retryAfterMs = 0 }) {
  return Math.max(Math.min(2 ** failures * 250, 30_000) * (0.5 + Math.random()), retryAfterMs)
}

/**
 * Connects an account `{url, token?, tokenFile?}`. A token file is read for each request, so a refused token may pass.
 * Requests throw ApiError for an answer, and an Error with the reason if none came.
 */
export function connect({ url, token, tokenFile }) {
  const api = { call, persist }
  return api

  /** Sends one request, and returns the parsed answer. */
  async function call(method, path, body, { headers, signal, timeoutMs = 30_000 } = {}) {
    const bearer = tokenFile ? (await readFile(tokenFile, 'utf8')).trim() : token
    const response = await fetch(url.replace(/\/+$/, '') + path, {
      method,
      headers: { Authorization: `Bearer ${bearer}`, 'Content-Type': 'application/json', ...headers },
      body: body && JSON.stringify(body),
      signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), ...(signal ? [signal] : [])]),
    }).catch((error) => {
      const reason = error.cause?.message || error.cause?.code || error.message // "fetch failed" says nothing
      throw new Error(`no answer from ${url}: ${reason}`, { cause: error })
    })
    const text = await response.text()
    let answer = {}
    try {
      if (text) answer = JSON.parse(text)
    } catch {
      throw new ApiError(response.ok ? 502 : response.status) // a proxy's page
    }
    const retryAfterSeconds = Number(response.headers.get('Retry-After'))
    if (!response.ok) throw new ApiError(response.status, answer, { retryAfterSeconds, renewable: Boolean(tokenFile) })
    return answer
  }

  /** Sends what `request()` returns, again and again, until the server has answered it or `limitMs` have passed. */
  async function persist(method, path, request, { signal, limitMs = 600_000 } = {}) {
    const until = Date.now() + limitMs
    for (let failures = 0; ; failures++) {
      const { body, headers } = request()
      try {
        return await api.call(method, path, body, { headers, signal })
      } catch (error) {
        if (error.final || signal?.aborted || Date.now() > until) throw error
        await sleep(backoffMs(failures, error), undefined, { signal })
      }
    }
  }
}
