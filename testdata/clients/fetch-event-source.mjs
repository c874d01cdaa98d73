import { setTimeout } from 'node:timers/promises'
import { fetchEventSource } from '@microsoft/fetch-event-source'
import { headers, report, url } from './report.mjs'

globalThis.window = globalThis // the library expects a browser
globalThis.document = { removeEventListener() {} }

// This library stores an id before it has the whole frame, and does not reconnect after the end of a body. So this
// script keeps the id and reconnects in a loop.
let id = ''
for (;;) {
  await fetchEventSource(url, {
    headers: id ? { ...headers, 'last-event-id': id } : headers,
    openWhenHidden: true,
    onmessage(m) {
      if (!m.data) return // the library also emits a "retry:" alone as a message
      id = m.id || id
      report(m.event, id, m.data)
    },
    onerror(e) {
      throw e
    },
  }).catch((e) => console.error(e.message))
  await setTimeout(1000)
}
