// agent.mjs
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

const { FABRIC_BACKEND_GUILD_URL: url = 'http://127.0.0.1:8080', FABRIC_BACKEND_GUILD_TOKEN: token } = process.env
const me = { worker: 'agent.mjs', instance: randomUUID() } // after a restart, the new instance gets the old one's work

const think = (wake) => wake.messages.map((m) => m.content.toUpperCase()).join('\n') // here your model thinks

// Asks until the server has an answer, most times at most. A refusal is logged, and comes back as {code}.
async function ask(path, body, most = Infinity) {
  for (let tries = 1; ; tries++) {
    let pause = Math.min(30_000, 250 * 2 ** tries) * (0.5 + Math.random() / 2)
    try {
      const answer = await fetch(`${url}/api/${path}`, {
        method: 'POST',
        redirect: 'error', // it would turn the POST into a GET
        headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(60_000),
      })
      const text = await answer.text()
      if (answer.ok) return text ? JSON.parse(text) : {}
      const own = answer.headers.get('content-type') === 'application/problem+json' // not a proxy's
      console.error(answer.url, answer.status, own ? text : '')
      if (own && answer.status === 401) process.exit(3) // a new token is needed
      if (own && answer.status !== 429 && answer.status < 500) return JSON.parse(text)
      const wanted = 1000 * answer.headers.get('retry-after') || 0 // it may be absent, or a date
      pause = Math.max(pause, Math.min(300_000, wanted))
    } catch (e) {
      console.error(url, path, e.cause?.message || e.cause?.code || e.message)
    }
    if (tries === most) return {}
    await sleep(pause)
  }
}

for (;;) {
  const { wake, code } = await ask('wakes/claim', { waitSeconds: 30, ...me })
  if (code) process.exit(1) // the log says why
  if (!wake) continue
  await ask(`channels/${wake.channelId}/activity`, { kind: 'thinking', ttlSeconds: 60 }, 1) // others see that it works
  const extend = setInterval(() => ask(`wakes/${wake.id}/extend`, {}, 1), wake.leaseMs / 3)
  try {
    const content = (await think(wake)).replace(/^\//, '//') // a slash at the beginning is no command
    const reply = { content, replyTo: wake.messages.at(-1).id, wakeId: wake.id }
    const { code } = content.trim()
      ? await ask(`channels/${wake.channelId}/messages`, reply)
      : await ask(`wakes/${wake.id}/ack`, {}) // nothing to say
    if (code && code !== 'wake_lost') await ask(`wakes/${wake.id}/ack`, { outcome: 'declined', note: code })
  } catch (e) {
    console.error(e)
    await ask(`wakes/${wake.id}/nack`, { error: String(e).slice(0, 500) }) // it comes back later
  }
  clearInterval(extend)
}
