// agent.mjs
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

const { FABRIC_BACKEND_GUILD_URL: url = 'http://127.0.0.1:8080', FABRIC_BACKEND_GUILD_TOKEN: token } = process.env
const me = { worker: 'agent.mjs', instance: randomUUID() } // after a restart, the new instance gets the old one's work

const think = (wake) => wake.messages.map((m) => m.content.toUpperCase()).join('\n') // here your model thinks

// Asks until the server has an answer, most times at most. A refusal comes back as {code}.
async function ask(path, body, most = Infinity) {
  for (let tries = 0; tries < most; tries++) {
    try {
      const answer = await fetch(`${url}/api/${path}`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(60_000),
      })
      const text = await answer.text()
      if (answer.ok) return text ? JSON.parse(text) : {}
      const own = answer.headers.get('content-type') === 'application/problem+json' // not a proxy's
      if (own && answer.status === 401) process.exit(3) // a new token is needed
      if (own && answer.status !== 429 && answer.status < 500) return { code: JSON.parse(text).code }
      throw new Error(`${path} got ${answer.status}`)
    } catch (e) {
      console.error(e.cause?.message ?? e.message)
    }
    await sleep(Math.min(30_000, 500 * 2 ** tries) * (0.5 + Math.random() / 2))
  }
  return {}
}

for (;;) {
  const { wake } = await ask('wakes/claim', { waitSeconds: 30, ...me })
  if (!wake) continue
  await ask(`channels/${wake.channelId}/activity`, { kind: 'thinking', ttlSeconds: 60 }) // others see that it works
  const extend = setInterval(() => ask(`wakes/${wake.id}/extend`, {}, 1), wake.leaseMs / 3)
  try {
    const content = (await think(wake)).replace(/^\//, '//') // a slash at the beginning is no command
    const reply = { content, replyTo: wake.messages.at(-1).id, wakeId: wake.id }
    const { code } = await ask(`channels/${wake.channelId}/messages`, reply)
    if (code && code !== 'wake_lost') await ask(`wakes/${wake.id}/ack`, { outcome: 'declined', note: code })
  } catch (e) {
    await ask(`wakes/${wake.id}/nack`, { error: e.message.slice(0, 500) }) // it comes back later
  }
  clearInterval(extend)
}
