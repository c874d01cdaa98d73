import { EventSource } from 'launchdarkly-eventsource'
import { headers, reportEvent, types, url } from './report.mjs'

const source = new EventSource(url, {
  headers,
  readTimeoutMillis: 45_000, // three heartbeats; the default is Node's timeout of 5 s
})
for (const type of types) source.addEventListener(type, reportEvent)
source.onerror = (e) => console.error(e.message)
