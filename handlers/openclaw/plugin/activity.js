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
  let shown = false
  let ended = false
  let busy = false
  let timer
  const post = (body) =>
    api.call('POST', path, body, { timeoutMs: 10_000 }).catch((error) => {
      if (error.code === 'not_found') silentUntil = Date.now() + 600_000
    })

  const send = async () => {
    timer = undefined
    if (ended || busy || Date.now() < silentUntil) return
    busy = true
    const { kind, text } = next
    const value = typeof text === 'function' ? text() : text
    shown = true
    await post({ kind, replyTo, ttlSeconds, ...(value && { text: value.slice(-draftUnits).toWellFormed() }) })
    busy = false
    plan((ttlSeconds * 1000) / 2) // a long silence of the model must not look like its end
  }
  const plan = (ms) => {
    if (!ended) timer ??= setTimeout(send, ms)
  }

  return {
    show(kind, text) {
      const first = next === undefined
      next = { kind, text }
      if (first) return void send()
      clearTimeout(timer)
      timer = undefined
      if (!busy) plan(intervalMs)
    },
    async end(posted) {
      ended = true
      clearTimeout(timer)
      if (shown && !posted && Date.now() >= silentUntil) await post({ kind: 'idle' })
    },
  }
}
