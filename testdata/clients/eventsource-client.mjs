import { createEventSource } from 'eventsource-client'
import { headers, report, url } from './report.mjs'

createEventSource({ url, headers, onMessage: (m) => report(m.event, m.id, m.data) })
