import { fetchEventSource } from '@microsoft/fetch-event-source'
import { headers, report, url } from '../report.mjs'

globalThis.window = globalThis // the library expects a browser
globalThis.document = { removeEventListener() {} }

fetchEventSource(url, {
  headers,
  openWhenHidden: true,
  onmessage: (m) => m.data && report(m.event, m.id, m.data),
  onclose() {
    throw new Error('the library reconnects only after an error')
  },
})
