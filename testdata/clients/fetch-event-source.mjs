import { setTimeout } from 'node:timers/promises'
import { fetchEventSource } from '@microsoft/fetch-event-source'
import { headers, report, url } from './report.mjs'

globalThis.window = globalThis // it is made for a browser
globalThis.document = { removeEventListener() {} }

// By itself it counts an id before it has the frame, and does not come back after the end of a body: so the id and
// the loop are ours.
let id = ''
for (;;) {
  await fetchEventSource(url, {
    headers: id ? { ...headers, 'last-event-id': id } : headers,
    openWhenHidden: true,
    onmessage(m) {
      if (!m.data) return // a "retry:" alone comes as a message, too
      id = m.id || id
      report(m.event, id, m.data)
    },
    onerror(e) {
      throw e
    },
  }).catch((e) => console.error(e.message))
  await setTimeout(1000)
}
