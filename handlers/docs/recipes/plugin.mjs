// The loop of an agent. Copy it, and put your model into run.
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

const { FABRIC_BACKEND_GUILD_URL: url = 'http://127.0.0.1:8080', FABRIC_BACKEND_GUILD_TOKEN: token } = process.env
const me = { worker: 'plugin', instance: randomUUID() } // programs that run side by side need different worker names
const stopping = new AbortController() // the first signal: claim no more, and finish the work
const killing = new AbortController() // the second: give the work back

// run returns the reply to a wake; an empty one ends the wake without a message. It must end when signal is aborted.
async function run(wake, signal) {
  console.error(`working on ${wake.messages.length} messages in #${wake.name}`)
  await sleep(Number(process.env.THINK_MS ?? 0), undefined, { signal })
  return wake.messages.map((m) => m.content.toUpperCase()).join('\n')
}

// request asks until the server has an answer. It logs a refusal, and returns it: {code}. After an abort it returns {}.
async function request(path, body, signal = new AbortController().signal) {
  for (let pause = 500; !signal.aborted; pause = Math.min(30_000, 2 * pause)) {
    let wanted = 0
    try {
      const answer = await fetch(`${url}/api/${path}`, {
        method: 'POST',
        redirect: 'error', // it would turn the POST into a GET
        headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
        signal: AbortSignal.any([signal, AbortSignal.timeout(60_000)]),
      })
      const text = await answer.text()
      if (answer.ok) return text ? JSON.parse(text) : {}
      const own = answer.headers.get('content-type') === 'application/problem+json' // not a proxy's
      console.error(answer.url, answer.status, own ? text : '')
      if (own && answer.status === 401) process.exit(3) // a new token is needed
      if (own && answer.status !== 429 && answer.status < 500) return JSON.parse(text)
      wanted = Math.min(300_000, 1000 * answer.headers.get('retry-after') || 0) // it may be absent, or a date
    } catch (e) {
      if (!signal.aborted) console.error(url, path, e.cause?.message || e.cause?.code || e.message)
    }
    const ms = Math.max(pause * (0.5 + Math.random() / 2), wanted)
    await sleep(ms, undefined, { signal }).catch(() => {})
  }
  return {}
}

async function work(wake) {
  const stop = new AbortController()
  const extend = async () => {
    const lease = await request(`wakes/${wake.id}/extend`, {}, AbortSignal.timeout(wake.leaseMs / 3))
    const isGone = lease.gone?.length === wake.messages.length // all messages were deleted
    if (lease.stop || isGone || lease.code === 'wake_lost') stop.abort(lease.code ?? 'asked to stop')
  }
  const timer = setInterval(extend, wake.leaseMs / 3)
  const end = (how, body) => request(`wakes/${wake.id}/${how}`, body)
  try {
    const content = await run(wake, AbortSignal.any([stop.signal, killing.signal]))
    if (!content.trim()) return await end('ack', {})
    const text = content.replace(/^\//, '//') // a slash at the beginning is no command
    const reply = { content: text, replyTo: wake.messages.at(-1).id, wakeId: wake.id }
    // The server ends the wake and stores the reply, or does neither.
    const { code } = await request(`channels/${wake.channelId}/messages`, reply)
    if (code && code !== 'wake_lost') await end('ack', { outcome: 'declined', note: code })
  } catch (e) {
    if (!stop.signal.aborted && !killing.signal.aborted) console.error(e)
    const error = String(stop.signal.reason ?? e.message).slice(0, 500)
    if (error !== 'wake_lost') await end('nack', killing.signal.aborted ? { delaySeconds: 0 } : { error })
  } finally {
    clearInterval(timer)
  }
}

for (const name of ['SIGINT', 'SIGTERM']) {
  process.on(name, () => (stopping.signal.aborted ? killing : stopping).abort())
}
while (!stopping.signal.aborted) {
  const { wake, code } = await request('wakes/claim', { waitSeconds: 30, leaseSeconds: 15, ...me }, stopping.signal)
  if (code) process.exit(1) // the log says why
  if (wake) await work(wake)
}
