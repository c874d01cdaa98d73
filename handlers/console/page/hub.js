import { compare, Stream } from './stream.js'

// The hub holds one stream for all tabs. A browser opens at most six connections to an HTTP/1.1 server, and a
// stream for each tab would use them up. The hub runs in a shared worker, so it survives when a tab closes,
// sleeps or reloads. In a browser without shared workers, each tab runs its own hub.
//
// A tab sends {follow: {userId, cursor}} with the cursor of its snapshot (GET /api/sync), and receives every
// frame after that cursor. {gap} tells the tab to take a new snapshot.

const beat = 3_000 // milliseconds between signs of life to the tabs
const absence = 120_000 // a tab that is silent for longer is gone; timers of hidden tabs are slow
const kept = 500 // frames, for tabs that connect later

const tabs = new Map() // port → time of its last message
let stream = null
let user = null
let recent = []
let floor = null // a cursor; recent holds all frames after it

// connect adds a tab.
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
  tellAll({ user }) // for tabs that show the sign-in form or another user
  stream = new Stream(cursor, { frame: keep, changed: tellStatus, signedOut: end })
}

function keep(frame) {
  if (frame.event === 'stream.reset' || frame.event === 'stream.channels') {
    // each tab takes its own snapshot
    recent = []
    floor = stream.status.cursor
    return tellAll({ gap: true })
  }
  if (frame.id === null) return tellAll({ frame }) // it is not in the event log
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
