// What others see while the agent works: typing, thinking, the tool in use, a draft of the answer.

const intervalMs = 500 // at most two requests per second and run
const ttlSeconds = 20 // shown this long without a refresh
const draftUnits = 1300 // UTF-16 units of the end of a draft: the server takes 4 KiB

let silentUntil = 0 // the server has no such route: it is an older one

/**
 * Shows activity in a channel. `show(kind, text?)` may be called as often as the model speaks; text may be a function,
 * called when it is sent. `end(posted)` takes the activity back, which a posted message does by itself.
 */
export function activity(api, channelId, replyTo) {
  const path = `/api/channels/${channelId}/activity`
  let next // what to show, the latest wins
  let shown
  let busy = false
  let ended = false
  let timer
  let due = Infinity

  async function post(body) {
    if (Date.now() < silentUntil) return
    await api.call('POST', path, body, { timeoutMs: 10_000 }).catch((error) => {
      if (error.code === 'not_found') silentUntil = Date.now() + 600_000
    })
  }

  async function send() {
    due = Infinity
    busy = true
    shown = next
    const text = typeof next.text === 'function' ? next.text() : next.text
    await post({ kind: next.kind, replyTo, ttlSeconds, ...(text && { text: text.slice(-draftUnits).toWellFormed() }) })
    busy = false
    plan(shown === next ? (ttlSeconds * 1000) / 2 : intervalMs) // a model that is silent for long is not idle
  }

  function plan(ms) {
    const at = Date.now() + ms
    if (ended || busy || at >= due) return
    clearTimeout(timer)
    due = at
    timer = setTimeout(send, ms)
  }

  return {
    show(kind, text) {
      if (ended) return
      next = { kind, text }
      if (shown) plan(intervalMs)
      else if (!busy) send()
    },
    async end(posted) {
      ended = true
      clearTimeout(timer)
      if (shown && !posted) await post({ kind: 'idle' })
    },
  }
}
