// The link is this tab's way to the hub.

const deadAfter = 10_000 // the hub is heard every 3 s

let port = null
let heardAt = 0
let following = null // what to ask another hub for, when this one is gone

// open connects to the hub. take is called with each of its messages; position tells {userId, cursor} to follow
// from, or null.
export async function open(take, position) {
  following = position
  await connect(take)
  setInterval(() => {
    if (Date.now() - heardAt > deadAfter)
      connect(take) // its process has crashed, or was put to death
    else send({ here: true })
  }, 3_000)
  addEventListener('pagehide', () => send({ bye: true }))
  addEventListener('pageshow', (e) => {
    if (e.persisted) connect(take)
  }) // back from the history
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

let alone = typeof SharedWorker !== 'function' // this tab is its own hub

async function reach(take) {
  if (!alone) {
    const worker = new SharedWorker(address(), { type: 'module', name: 'fabric-guild' })
    worker.onerror = () => {
      // it could not be loaded
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
// address is that of the hub's code, in the form that a browser with Trusted Types wants.
function address() {
  const url = new URL('hub.js', import.meta.url).href
  policy ??= globalThis.trustedTypes?.createPolicy('worker', { createScriptURL: (u) => u })
  return policy ? policy.createScriptURL(url) : url
}
