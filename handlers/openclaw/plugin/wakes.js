// The claim loop: takes wakes from the server, keeps their leases, and hands each one to a worker.
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

const instance = randomUUID() // one run of this program: its first claim takes over what an earlier run held
const leaseSeconds = 120 // a server or an event loop that stands still for a minute must not cost the lease
const beatMs = 15_000 // at most so long until a stop or a loss is noticed
const remembered = 1000 // wakes

/** A wake that this process works on, and how it ended. */
export class Hold {
  constructor(wake) {
    this.ids = new Set() // of all claims of this work
    this.renew(wake)
    this.ended = undefined // posted, ack, nack, refused; or lost, stopped, closing: then the run must stop
    this.abort = new AbortController() // for the run of the model
    this.doing = undefined // what others may read while the work lasts
    this.adopts = () => false // whether a post that names no wake ends this one
    this.over = new Promise((resolve) => {
      this.settle = resolve
    })
  }

  renew(wake) {
    this.wake = wake
    this.ids.add(wake.id)
  }

  get id() {
    return this.wake.id
  }

  get last() {
    return this.wake.messages.at(-1)
  }

  end(how) {
    if (this.ended) return
    this.ended = how
    if (how !== 'posted') this.abort.abort()
    this.settle()
  }
}

/** The wakes that this process holds, by channel. */
export class Holds extends Map {
  constructor() {
    super()
    this.posted = new Set() // ids of wakes that a post of this process has ended
    this.ready = new Promise((resolve) => {
      this.caughtUp = resolve // called once everything that was due at the start is claimed
    })
  }

  /** The hold that a reply ends: that of its wake, or of a newer claim of the message that it answers. */
  covering(channelId, wakeId, messageId) {
    const hold = this.get(channelId)
    if (!hold || hold.ended) return
    return hold.ids.has(wakeId) || hold.wake.messages.some((message) => message.id === messageId) ? hold : undefined
  }

  /** Notes that a post has ended the wake. */
  endByPost(hold, wakeId) {
    this.posted.add(wakeId)
    if (this.posted.size > remembered) this.posted.delete(this.posted.values().next().value)
    hold?.end('posted')
  }
}

/** Extends the lease, at least every third of it, until the hold ends. Returns a function that stops the timer. */
export function keepLease(api, hold, log) {
  let timer
  const pauseMs = () => Math.min(hold.wake.leaseMs / 3, beatMs)
  const beat = async () => {
    const { id } = hold
    let pause = pauseMs()
    try {
      const body = { leaseSeconds, ...(hold.doing && { status: hold.doing }) }
      const lease = await api.call('POST', `/api/wakes/${id}/extend`, body, { timeoutMs: hold.wake.leaseMs / 3 })
      if (lease.stop || lease.gone.length === hold.wake.messages.length) hold.end('stopped')
    } catch (error) {
      if (error.code === 'wake_lost' && id === hold.id) hold.end('lost')
      if (error.code === 'lease_limit') return // one hour is over: the reply counts until somebody claims the wake
      log?.warn?.(`lease of ${id}: ${error.message}`)
      pause /= 4
    }
    if (!hold.ended) timer = setTimeout(beat, pause)
  }
  timer = setTimeout(beat, pauseMs())
  return () => clearTimeout(timer)
}

/**
 * Claims wakes until `signal` is aborted, and works on `concurrency` of them at a time. `start` returns the worker: it
 * gets a Hold, and returns when that has ended, or 'backoff' if nothing should be claimed for a while. `report` gets
 * `{connected, lastError}`. Returns when all work has ended. Tests replace `pause(ms)`.
 */
export async function serve({ api, holds, start, concurrency, signal, report, log, pause }) {
  const running = new Set()
  let work
  let failures = 0
  let resting = false
  let waitSeconds = 0 // until everything that was due at the start is claimed
  pause ??= (ms) => sleep(ms, undefined, { signal }).catch(() => {})
  signal.addEventListener('abort', () => {
    for (const hold of holds.values()) hold.end('closing')
  })

  async function run(wake) {
    const held = holds.get(wake.channelId)
    if (held && !held.ended && held.last.id === wake.messages.at(-1).id) {
      held.renew(wake) // its lease had ended while the server was away: the run goes on under the new one
      return
    }
    if (held) {
      held.end('lost')
      await held.done
    }
    const hold = new Hold(wake)
    holds.set(wake.channelId, hold)
    const release = keepLease(api, hold, log)
    hold.done = work(hold)
      .then((result) => {
        resting = result === 'backoff'
      })
      .catch((error) => log?.error?.(`wake ${hold.id}: ${error.stack}`)) // the end of the lease gives it back
      .finally(() => {
        release()
        hold.end('nack')
        holds.delete(wake.channelId)
      })
    await hold.done
  }

  while (!signal.aborted) {
    if (running.size >= concurrency) {
      holds.caughtUp()
      await Promise.race(running)
      continue
    }
    if (resting) {
      resting = false
      await pause(5000)
      continue
    }
    try {
      work ??= await start()
      const body = { worker: 'openclaw', instance, leaseSeconds, waitSeconds }
      const options = { signal, timeoutMs: (waitSeconds + 15) * 1000 }
      const { wake } = await api.call('POST', '/api/wakes/claim', body, options)
      report({ connected: true, lastError: null })
      failures = 0
      if (wake) {
        const task = run(wake).finally(() => running.delete(task))
        running.add(task)
      } else {
        holds.caughtUp()
        if (waitSeconds) await pause(Math.random() * 200) // a draining server answers at once
        waitSeconds = 30
      }
    } catch (error) {
      if (signal.aborted) break
      report({ connected: false, lastError: error.message })
      const ms = Math.min(2 ** failures++, 30) * 1000 * (0.5 + Math.random())
      await pause(Math.max(ms, error.retryAfterMs ?? 0))
    }
  }
  await Promise.all(running)
}
