// agent.mjs
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

const { FABRIC_BACKEND_GUILD_URL: url = 'http://127.0.0.1:8080', FABRIC_BACKEND_GUILD_TOKEN: token } = process.env
const authorization = { Authorization: `Bearer ${token}` }
let cursor = existsSync('agent.cursor') ? readFileSync('agent.cursor', 'utf8') : ''
let tries = 0

const itsWord = (a) => a.headers.get('content-type') === 'application/problem+json' // not that of a proxy

async function answer(message) {
  const content = message.content.toUpperCase() // here your model thinks
  const posted = await fetch(`${url}/api/channels/${message.channelId}/messages`, {
    method: 'POST',
    headers: { ...authorization, 'Content-Type': 'application/json', 'Idempotency-Key': message.id },
    body: JSON.stringify({ content, replyTo: message.id }),
    signal: AbortSignal.timeout(30_000),
  })
  const refused = itsWord(posted) && ![401, 429].includes(posted.status) && posted.status < 500
  if (!posted.ok && !refused) throw new Error(`a post got ${posted.status}`) // else it is answered, or cannot be
}

async function take({ id, event, data }) {
  if (event === 'message.created') await answer(data)
  if (event === 'stream.reset') console.error(`${data.reason}: what was missed is in the channels' histories`)
  if (!id || id === cursor) return
  writeFileSync('agent.cursor.new', id)
  renameSync('agent.cursor.new', 'agent.cursor')
  cursor = id
  tries = 0
}

for (;;) {
  const silence = new AbortController()
  const watch = () => setTimeout(() => silence.abort(new Error('silent for too long')), 45_000) // three heartbeats
  let timer = watch()
  try {
    const headers = { ...authorization, Accept: 'application/x-ndjson', ...(cursor && { 'Last-Event-ID': cursor }) }
    const stream = await fetch(`${url}/api/stream?wakeup=true&types=message.created`, {
      headers,
      signal: silence.signal,
    })
    if (stream.status === 401 && itsWord(stream)) process.exit(3) // a new token is needed
    if (!stream.ok) throw new Error(`the stream got ${stream.status}`)
    let rest = ''
    for await (const chunk of stream.body.pipeThrough(new TextDecoderStream())) {
      clearTimeout(timer) // thinking may take longer
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() // a line that is cut off does not count
      for (const line of lines) await take(JSON.parse(line))
      timer = watch()
    }
  } catch (e) {
    console.error(e.cause?.message ?? e.message)
  }
  clearTimeout(timer)
  await sleep(Math.min(30_000, 500 * 2 ** tries++) * (0.5 + Math.random() / 2))
}
