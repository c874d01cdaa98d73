import EventSource from 'eventsource2'
import { headers, reportEvent, types, url } from './report.mjs'

// When a connection ends inside a frame, this library emits the partial frame, and after its own reconnect the whole
// frame again. So each connection gets a new EventSource that resumes after the last complete event.
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
