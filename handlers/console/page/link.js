// The link is this tab's connection to the hub.

const deadAfter = 10_000 // milliseconds; the hub sends a sign of life every 3 s

let port = null
let heardAt = 0
let following = null // returns where to follow from; a new hub asks for it

// open connects to the hub. It calls take for each message of the hub. position returns the {userId, cursor} to
// follow from, or null.
export async function open(take, position) {
  following = position
  await connect(take)
  setInterval(() => {
    const dead = Date.now() - heardAt > deadAfter // the process of the hub has crashed or was killed
    if (dead) connect(take)
    else send({ here: true })
  }, 3_000)
  addEventListener('pagehide', () => send({ bye: true }))
  addEventListener('pageshow', (e) => {
    if (e.persisted) connect(take) // the page was restored from the browser's history
  })
  addEventListener('online', () => send({ hurry: true }))
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) send({ hurry: true })
  })
}

export function send(message) {
  port?.postMessage(message)
}

async function connect(take) {
  send({ bye: true })
  heardAt = Date.now()
  const own = await reach(take)
  port = own
  own.onmessage = ({ data }) => {
    if (own !== port) return
    heardAt = Date.now()
    take(data)
  }
  const from = following()
  if (from) send({ follow: from })
  else send({ here: true })
}

let alone = typeof SharedWorker !== 'function' // this tab runs its own hub

async function reach(take) {
  if (!alone) {
    const worker = new SharedWorker(address(), { type: 'module', name: 'fabric-guild' })
    worker.onerror = () => {
      // the worker could not be loaded
      alone = true
      connect(take)
    }
    return worker.port
  }
  const hub = await import('./hub.js')
  const { port1, port2 } = new MessageChannel()
  hub.connect(port1)
  return port2
}

let policy
// address returns the URL of the hub's code, as a TrustedScriptURL where the browser requires one.
function address() {
  const url = new URL('hub.js', import.meta.url).href
  policy ??= globalThis.trustedTypes?.createPolicy('worker', { createScriptURL: (u) => u })
  return policy ? policy.createScriptURL(url) : url
}
