// What others see while the agent works: typing, thinking, the tool in use, a draft of the answer.

const intervalMs = 500 // at most two requests per second and run
const ttlSeconds = 20 // shown this long without a refresh
const draftUnits = 1300 // UTF-16 units of the end of a draft: the server takes 4 KiB

/** Shows activity in a channel. `show` may be called for each word; `done(posted)` takes back what no message replaces. */
export function activity(api, channelId, replyTo) {
  let next // what to show, the latest wins
  let shown
  let refreshAt
  let request // the one under way

  function send() {
    if (request || !next || (next === shown && Date.now() < refreshAt)) return
    shown = next
    refreshAt = Date.now() + (ttlSeconds * 1000) / 2 // a model that is silent for long is not idle
    request = post({ ...next, replyTo, ttlSeconds }).finally(() => {
      request = undefined
    })
  }
  const post = (body) =>
    api.call('POST', `/api/channels/${channelId}/activity`, body, { timeoutMs: 10_000 }).catch(() => {})
  const timer = setInterval(send, intervalMs)

  return {
    show(kind, text) {
      next = { kind, text: text?.slice(-draftUnits).toWellFormed() }
      if (!shown) send()
    },
    async done(posted) {
      clearInterval(timer)
      await request
      if (shown && !posted) await post({ kind: 'idle' })
    },
  }
}
