// base is the URL of the API. The API is beside this folder, also when a proxy adds a prefix.
export const base = new URL('../api/', import.meta.url)

// A Problem is a failed request: the API's own problem (RFC 9457), a proxy's error page, or no answer at all
// (status 0).
export class Problem extends Error {
  constructor({ status, code, detail, errors, requestId }) {
    super(detail)
    Object.assign(this, { status, code, fields: errors ?? [], requestId })
  }

  // passing reports whether the same request may succeed later: there was no answer, or the server had a fault.
  get passing() {
    return this.status === 0 || this.status >= 500
  }

  // text is for the user: what happened, and for a server error the request id, which finds it in the server's
  // log.
  get text() {
    if (this.fields.length === 1) return `This ${this.fields[0].detail}` // the page shows it beside the field
    const id = this.status >= 500 && this.requestId ? ` (request ${this.requestId})` : ''
    return this.message.charAt(0).toUpperCase() + this.message.slice(1) + id
  }
}

const patience = 30_000 // milliseconds; the server gives up after 20 s

let signedOut = () => {}
// onSignedOut sets the function that is called for every 401 of a request with the cookie.
export function onSignedOut(call) {
  signedOut = call
}

// api sends a request as send does. A read that the server refuses because this user reads too much is sent again a
// little later, a few times.
export async function api(method, path, options) {
  for (let tries = 0; ; tries++) {
    try {
      return await send(method, path, options)
    } catch (problem) {
      if (method !== 'GET' || problem.status !== 429 || tries === retries) throw problem
      await new Promise((resolve) => setTimeout(resolve, 1000 * 2 ** tries))
    }
  }
}

const retries = 3

// send sends a request and resolves to the answer's JSON, or to null if the answer has no body. It throws a
// Problem for everything else. With a key (Idempotency-Key), the same request can be sent again safely.
async function send(method, path, { body, token, key } = {}) {
  const headers = {}
  if (body !== undefined) headers['Content-Type'] = 'application/json'
  if (token !== undefined) headers.Authorization = `Bearer ${token}`
  if (key !== undefined) headers['Idempotency-Key'] = `"${key}"`
  let answer, text
  try {
    answer = await fetch(new URL(path, base), {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(patience),
    })
    text = await answer.text()
  } catch (e) {
    const detail = e.name === 'TimeoutError' ? 'The server does not answer' : 'The server cannot be reached'
    throw new Problem({ status: 0, code: 'unreachable', detail })
  }
  if (answer.ok) return text ? JSON.parse(text) : null
  const problem = understand(answer, text)
  if (problem.status === 401 && token === undefined) signedOut(problem)
  throw problem
}

function understand(answer, text) {
  if (answer.headers.get('Content-Type')?.startsWith('application/problem+json')) {
    try {
      return new Problem(JSON.parse(text))
    } catch {
      /* it is not JSON: a proxy copied the content type */
    }
  }
  return new Problem({
    status: answer.status,
    code: 'proxy',
    detail: `A proxy on the way to the server answered ${`${answer.status} ${answer.statusText}`.trim()}`,
  })
}

// newKey returns a new Idempotency-Key. crypto.randomUUID exists only on https and localhost.
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('')
}
