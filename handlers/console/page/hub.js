import { compare, Stream } from './stream.js'

// The hub holds the one stream that all tabs share: a browser grants an HTTP/1.1 server six connections, and a
// stream a tab would use them up. It runs in a shared worker, which no tab's end, sleep or reload disturbs;
// where there are none, in the tab itself.
//
// A tab sends {follow: {userId, cursor}} with the cursor of its snapshot (GET /api/sync), and gets every frame
// after it. {gap} tells it to take a new snapshot.

const beat = 3_000 // how often a tab hears of us: its sign that we live
const absence = 120_000 // a tab that has not answered for so long is gone; timers of hidden ones are slow
const kept = 500 // frames, for tabs that come later

const tabs = new Map() // port → when it was last heard
let stream = null
let user = null
let recent = []
let floor = null // all frames after it are in recent

// connect takes a tab in.
export function connect(port) {
  port.onmessage = ({ data }) => {
    tabs.set(port, Date.now())
    if (data.follow) follow(port, data.follow)
    else if (data.bye) leave(port)
    else if (data.cut) stream?.cut()
    else if (data.resume) stream?.resume()
    else if (data.hurry) stream?.hurry()
    else if (data.signedOut) end('signed_out')
  }
}

function follow(port, { userId, cursor }) {
  if (!stream || user !== userId) start(userId, cursor)
  if (compare(cursor, floor) < 0) return port.postMessage({ gap: true })
  for (const frame of recent) {
    if (compare(frame.id, cursor) > 0) port.postMessage({ frame })
  }
  tellStatus()
}

function start(userId, cursor) {
  stream?.close()
  stream = null
  user = userId
  recent = []
  floor = cursor
  tellAll({ user }) // tabs that show a sign-in, or somebody else
  stream = new Stream(cursor, { frame: keep, changed: tellStatus, signedOut: end })
}

function keep(frame) {
  if (frame.event === 'stream.reset' || frame.event === 'stream.channels') {
    // a tab takes its own snapshot
    recent = []
    floor = stream.status.cursor
    return tellAll({ gap: true })
  }
  recent.push(frame)
  if (recent.length > kept) floor = recent.shift().id
  tellAll({ frame })
}

function leave(port) {
  tabs.delete(port)
  port.close()
  if (tabs.size === 0) {
    stream?.close()
    stream = null
  }
}

function end(code) {
  stream?.close()
  stream = null
  tellAll({ signedOut: code })
}

function tellAll(message) {
  for (const port of tabs.keys()) port.postMessage(message)
}

function tellStatus() {
  if (stream) tellAll({ status: { ...stream.status, tabs: tabs.size } })
}

setInterval(() => {
  for (const [port, heardAt] of tabs) {
    if (Date.now() - heardAt > absence) leave(port)
  }
  if (stream) tellStatus()
  else tellAll({ beat: true })
}, beat)

globalThis.onconnect = ({ ports: [port] }) => connect(port)
