// base is where the API is: beside this folder, also below a prefix.
export const base = new URL('../api/', import.meta.url)

// A Problem is an answer that is not as hoped for: the API's own (RFC 9457), a proxy's, or none at all
// (status 0).
export class Problem extends Error {
  constructor({ status, code, detail, errors, requestId }) {
    super(detail)
    Object.assign(this, { status, code, fields: errors ?? [], requestId })
  }

  // text is what to show: what happened, and by what it is found in the log.
  get text() {
    if (this.fields.length === 1) return `This ${this.fields[0].detail}` // it is shown beside the one field
    const id = this.status >= 500 && this.requestId ? ` (request ${this.requestId})` : ''
    return this.message.charAt(0).toUpperCase() + this.message.slice(1) + id
  }
}

const patience = 30_000 // the server itself gives up after 20 s

let signedOut = () => {}
// onSignedOut is called with every 401.
export function onSignedOut(call) {
  signedOut = call
}

// api sends a request and returns the answer's JSON, null without any. Everything else is thrown as a Problem.
// key makes the request one that may safely be sent again (Idempotency-Key).
export async function api(method, path, { body, token, key } = {}) {
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
      /* a proxy that claims to be us */
    }
  }
  return new Problem({
    status: answer.status,
    code: 'proxy',
    detail: `Something on the way to the server answered ${`${answer.status} ${answer.statusText}`.trim()}`,
  })
}

// newKey is a fresh Idempotency-Key. crypto.randomUUID exists on https and localhost only.
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('')
}
