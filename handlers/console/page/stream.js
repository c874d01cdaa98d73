import { api, base } from './api.js'

// The events of a stream (the page "The stream"). EventSource delivers only events that have a listener.
const names = [
  'stream.ready',
  'stream.live',
  'stream.reset',
  'stream.channels',
  'stream.cursor',
  'stream.heartbeat',
  'stream.closing',
  'channel.joined',
  'channel.left',
  'channel.updated',
  'channel.archived',
  'member.joined',
  'member.left',
  'message.created',
  'message.updated',
  'message.deleted',
  'turn.changed',
  'wake.dead',
  'guard.tripped',
  'activity',
  'wake.state',
  'channel.read',
]

// These are not in the event log: they have no id, and are in no backlog.
const passing = ['activity', 'wake.state', 'channel.read']

const silence = 40_000 // a heartbeat comes every 15 s: a connection that is silent for longer is dead
const patience = 20_000 // for the first event
const checkEvery = 5_000
const firstWait = 2_000 // as the server's retry: says
const longestWait = 30_000

// compare orders cursors. A later epoch is newer than all earlier ones, and its numbers continue from theirs.
export function compare(a, b) {
  const [epochA, numberA] = a.split('.').map(Number)
  const [epochB, numberB] = b.split('.').map(Number)
  return epochA - epochB || numberA - numberB
}

// A Stream follows GET /api/stream from a cursor until it is closed. EventSource gives up for good on any
// answer but 200, such as a proxy's 502 (WHATWG HTML 9.2.3), and does not notice a connection that died
// silently. So a Stream drops its EventSource at the first fault, and opens another one from the last id, with
// exponential backoff and jitter.
//
// It calls frame for each {event, id, data}, once and in order; what is not in the event log has the id null. It calls changed after each change of status, and
// signedOut when the session has ended.
export class Stream {
  #source = null
  #opening = 0
  #tries = 0
  #timer
  #watch
  #frame
  #changed
  #signedOut

  status = {
    state: 'connecting', // or: catching up, live, waiting (until retryAt), cut (by the user), closed
    cursor: null, // the last id
    seenAt: null, // time of the last frame of any kind
    reason: '', // why it is not live
    retryAt: null,
    connections: 0,
    resume: null, // {from, backlog, doubled, took} of the latest resume; took is in milliseconds
    reset: null, // {reason, at} of the latest reset
  }

  constructor(cursor, { frame, changed, signedOut }) {
    this.status.cursor = cursor
    this.#frame = frame
    this.#changed = changed
    this.#signedOut = signedOut
    this.#watch = setInterval(() => this.#check(), checkEvery)
    this.connect()
  }

  // connect connects at once, in any state.
  connect() {
    this.#disconnect()
    const url = new URL('stream', base)
    url.search = new URLSearchParams({ lastEventId: this.status.cursor, echo: true, heartbeat: true, activity: true })
    const source = new EventSource(url)
    this.#source = source
    this.#opening = Date.now()
    for (const name of names) source.addEventListener(name, (e) => this.#take(name, e))
    source.onerror = () => {
      const refused = source.readyState === EventSource.CLOSED
      this.#lost(refused ? 'The stream was refused' : 'The connection was lost', { refused, ask: refused })
    }
    this.#set({ state: 'connecting', retryAt: null })
  }

  // cut closes the connection until resume.
  cut() {
    this.#disconnect()
    this.#set({ state: 'cut', retryAt: null, reason: 'Cut by you' })
  }

  resume() {
    if (this.status.state === 'cut') this.connect()
  }

  close() {
    this.#disconnect()
    clearInterval(this.#watch)
    this.#set({ state: 'closed', retryAt: null })
  }

  // hurry ends the wait for the next attempt. Call it when the network may be back.
  hurry() {
    if (this.status.state === 'waiting') this.connect()
    else this.#check()
  }

  #disconnect() {
    clearTimeout(this.#timer)
    this.#source?.close()
    this.#source = null
  }

  #set(changes) {
    Object.assign(this.status, changes)
    this.#changed(this.status)
  }

  #take(event, e) {
    const data = JSON.parse(e.data)
    const id = e.lastEventId || null // the latest id of this connection
    const s = this.status
    s.seenAt = Date.now()
    if (passing.includes(event)) return this.#frame({ event, id: null, data })
    switch (event) {
      case 'stream.ready':
        this.#tries = 0
        return this.#set({
          state: data.resumed ? 'catching up' : 'live',
          reason: '',
          connections: s.connections + 1,
          resume: { from: s.cursor, backlog: 0, doubled: 0, took: null },
        })
      case 'stream.live': // its id may be beyond the last event, as with stream.cursor
        s.resume.took = Date.now() - this.#opening
        this.#set({ state: 'live' })
        break
      case 'stream.reset':
        this.#tries = 0
        if (id) s.cursor = id
        this.#set({
          state: 'live',
          reason: '',
          connections: s.connections + 1,
          resume: null,
          reset: { reason: data.reason, at: s.seenAt },
        })
        return this.#frame({ event, id, data })
      case 'stream.channels': // the next part of a long snapshot
        if (id) s.cursor = id // it may be lower than the old cursor
        return this.#frame({ event, id, data })
      case 'stream.heartbeat':
        return this.#changed(s)
      case 'stream.closing':
        return this.#lost(`The server closed the stream: ${data.reason.replace('_', ' ')}`, { ask: !data.reconnect })
    }
    const ofLog = !event.startsWith('stream.')
    if (ofLog && s.state === 'catching up') s.resume.backlog++
    if (!id || compare(id, s.cursor) <= 0) {
      if (ofLog && s.resume) s.resume.doubled++
      return
    }
    s.cursor = id
    this.#frame({ event, id, data })
  }

  // lost closes the connection and schedules the next attempt. With ask, it asks the server whether the session
  // has ended.
  async #lost(reason, { refused = false, ask = false }) {
    this.#disconnect()
    const wait = Math.min(longestWait, firstWait * 2 ** this.#tries++) * (0.5 + Math.random() / 2)
    const timer = setTimeout(() => this.connect(), wait)
    this.#timer = timer
    this.#set({ state: 'waiting', reason, retryAt: Date.now() + wait })
    if (!ask) return
    let problem = null
    try {
      await api('GET', 'me')
      if (refused) reason += '. The server answers other requests: you may have too many streams open'
    } catch (p) {
      problem = p
      reason = p.text
    }
    if (this.#timer !== timer || this.status.state !== 'waiting') return // the stream has moved on
    if (problem?.status === 401) {
      this.close()
      this.#signedOut(problem.code)
    } else {
      this.#set({ reason })
    }
  }

  // check detects a connection that died silently, for example because the network went away or the machine slept.
  #check() {
    const now = Date.now()
    const { state, seenAt } = this.status
    if (state === 'connecting' && now - this.#opening > patience) {
      this.#lost('No answer. A proxy may be holding the stream back', { ask: true })
    } else if ((state === 'live' || state === 'catching up') && now - seenAt > silence) {
      this.status.reason = 'Silent for too long'
      this.connect()
    }
  }
}
