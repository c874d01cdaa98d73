// The guild's HTTP API: one request, or one that is repeated until the server has answered it.
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

/** An answer that is not 2xx. The message is the server's own words; `code` is for programs. */
export class ApiError extends Error {
  constructor(status, problem, retryAfter) {
    super(problem?.code ? `${problem.code}: ${problem.detail}` : `the server answered ${status}`)
    this.name = 'ApiError'
    this.status = status
    this.code = problem?.code
    this.retryAfterMs = retryAfter > 0 ? retryAfter * 1000 : 0
  }

  /** True if the same request can succeed later. */
  get passing() {
    return this.status === 429 || this.status >= 500 || this.code === 'idempotency_in_flight'
  }
}

/**
 * Connects an account `{url, token?, tokenFile?}`. A token file is read for each request.
 * Returns `call`, which sends one request and returns the parsed answer, and `persist`, which repeats a request
 * after network errors, 429 and 5xx until `limitMs` have passed. Both throw ApiError for other answers.
 */
export function connect(account) {
  const base = account.url.replace(/\/+$/, '')
  const api = { call, persist }
  return api

  async function call(method, path, body, { headers, signal, timeoutMs = 30_000 } = {}) {
    const token = account.tokenFile ? (await readFile(account.tokenFile, 'utf8')).trim() : account.token
    const timeout = AbortSignal.timeout(timeoutMs)
    const response = await fetch(base + path, {
      method,
      headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json', ...headers },
      body: body && JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    })
    const text = await response.text()
    let answer
    try {
      answer = text ? JSON.parse(text) : {}
    } catch {
      throw new ApiError(response.ok ? 502 : response.status) // a proxy's page
    }
    if (!response.ok) throw new ApiError(response.status, answer, Number(response.headers.get('Retry-After')))
    return answer
  }

  async function persist(method, path, request, { signal, limitMs = 600_000, firstPauseMs = 250 } = {}) {
    const until = Date.now() + limitMs
    for (let pause = firstPauseMs; ; pause = Math.min(2 * pause, 15_000)) {
      const { body, headers } = request() // made anew for each attempt: the wake may have a new id by now
      try {
        return await api.call(method, path, body, { headers, signal })
      } catch (error) {
        if (signal?.aborted || Date.now() > until || (error instanceof ApiError && !error.passing)) throw error
        await sleep(Math.max(pause * (0.5 + Math.random()), error.retryAfterMs ?? 0), undefined, { signal })
      }
    }
  }
}
