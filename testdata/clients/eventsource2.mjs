import EventSource from 'eventsource2'
import { headers, reportEvent, types, url } from './report.mjs'

// By itself it hands out what it has of a frame that was cut off, and then the whole frame: so each connection gets a
// source of its own, and begins after what the last one showed.
let id
function open() {
  const source = new EventSource(url, { headers: { ...headers, 'Last-Event-ID': id } })
  for (const type of types) {
    source.addEventListener(type, (e) => {
      id = e.lastEventId
      reportEvent(e)
    })
  }
  source.onerror = (e) => {
    console.error(e.message)
    source.close()
    setTimeout(open, 1000)
  }
}
open()
