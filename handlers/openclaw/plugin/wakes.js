// The claim loop: takes wakes from the server, keeps their leases, and hands each one to a worker.
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { backoffMs } from './api.js'

const instance = randomUUID() // one run of this program: its first claim takes over what an earlier run held
const leaseSeconds = 120 // a server or an event loop that stands still for a minute must not cost the lease
const beatMs = 15_000 // at most so long until a stop or a loss is noticed

/** A wake that this process works on, and how it ended. */
export class Hold {
  ended = undefined // posted, ack, nack, refused; or lost, stopped, closing: then the run must stop
  abort = new AbortController() // for the run of the model
  adopts = () => false // whether a post that names no wake ends this one

  constructor(wake) {
    this.wake = wake // a newer claim of the same work replaces it
  }

  get last() {
    return this.wake.messages.at(-1)
  }

  /** Reports whether a reply to this message, made under this wake, ends the hold. */
  covers(wakeId, messageId) {
    return !this.ended && (this.wake.id === wakeId || this.wake.messages.some(({ id }) => id === messageId))
  }

  end(how) {
    if (this.ended) return
    this.ended = how
    if (how !== 'posted') this.abort.abort()
  }
}

/**
 * The holds of this process by channel. `ready` resolves once everything that was due at the start is claimed, or the
 * claim loop has ended. `answers` has the answer that ended the last wake of each channel.
 */
export class Holds extends Map {
  answers = new Map()
  ready = new Promise((resolve) => {
    this.caughtUp = resolve
  })
}

/** Extends the lease until the hold ends. Returns a function that stops the timer. */
export function keepLease(api, hold, log) {
  let over // the wake whose hour is over: the reply counts until somebody claims it, perhaps this process
  const timer = setInterval(async () => {
    const { id, messages } = hold.wake
    if (hold.ended || id === over) return
    try {
      const lease = await api.call('POST', `/api/wakes/${id}/extend`, { leaseSeconds }, { timeoutMs: beatMs })
      if (lease.stop || lease.gone.length === messages.length) hold.end('stopped')
    } catch (error) {
      if (hold.ended || id !== hold.wake.id) return
      log?.warn?.(`lease of ${id}: ${error.message}`)
      if (error.code === 'wake_lost') hold.end('lost')
      if (error.code === 'lease_limit') over = id
    }
  }, beatMs)
  return () => clearInterval(timer)
}

/**
 * Claims wakes until `signal` is aborted, and works on `concurrency` of them at a time. `start` returns the worker,
 * which gets a Hold and returns when that has ended. `report` gets `{connected, lastError, lastInboundAt?}`. Returns
 * when all work has ended. Tests replace `pause(ms)`.
 */
export async function serve({ api, holds, start, concurrency, signal, report, log, pause }) {
  const running = new Set()
  let work
  let failures = 0
  let waitSeconds = 0 // until everything that was due at the start is claimed
  pause ??= (ms) => sleep(ms, undefined, { signal }).catch(() => {})
  signal.addEventListener('abort', () => {
    for (const hold of holds.values()) hold.end('closing')
  })

  async function run(wake) {
    const { channelId } = wake
    const held = holds.get(channelId)
    if (held && !held.ended && held.last.id === wake.messages.at(-1).id) {
      held.wake = wake // its lease had ended while the server was away: the run goes on under the new one
      return
    }
    held?.end('lost')
    await held?.done
    const hold = new Hold(wake)
    holds.set(channelId, hold)
    if (signal.aborted) hold.end('closing')
    const release = keepLease(api, hold, log)
    hold.done = work(hold)
      .catch((error) => log?.error?.(`wake ${hold.wake.id}: ${error.stack}`)) // the end of the lease gives it back
      .finally(() => {
        release()
        hold.end('nack')
        holds.delete(channelId)
      })
    await hold.done
  }

  while (!signal.aborted) {
    if (running.size >= concurrency) {
      holds.caughtUp()
      await Promise.race(running)
      continue
    }
    try {
      work ??= await start()
      const body = { worker: 'openclaw', instance, leaseSeconds, waitSeconds }
      const { wake } = await api.call('POST', '/api/wakes/claim', body, { signal, timeoutMs: 45_000 })
      report({ connected: true, lastError: null, ...(wake && { lastInboundAt: Date.now() }) })
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
      await pause(backoffMs(failures++, error))
    }
  }
  holds.caughtUp()
  await Promise.all(running)
}
