import EventSource from 'eventsource2'
import { headers, reportEvent, types, url } from '../report.mjs'

const source = new EventSource(url, { headers })
for (const type of types) source.addEventListener(type, reportEvent)
