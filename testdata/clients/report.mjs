// Shared by the client scripts: the URL of the stream, and the report of each event as a line of JSON.
export const url = process.argv[2]
export const headers = { Authorization: `Bearer ${process.env.TOKEN}` }

// An EventSource dispatches only the event types that have a listener.
export const types = [
  'stream.ready',
  'stream.reset',
  'stream.live',
  'stream.closing',
  'channel.joined',
  'message.created',
]

export function report(event, id, data) {
  console.log(JSON.stringify({ event, id, data: JSON.parse(data) }))
}
export const reportEvent = (e) => report(e.type, e.lastEventId, e.data)

// follow opens a new EventSource after the last id whenever one gives up. An EventSource gives up on any answer other
// than 200, such as a proxy's 502.
export function follow(create) {
  let id = ''
  function open() {
    const source = create(`${url}?lastEventId=${id}`)
    for (const type of types) {
      source.addEventListener(type, (e) => {
        id = e.lastEventId
        report(e.type, id, e.data)
      })
    }
    source.onerror = (e) => {
      console.error(e.message ?? e.type)
      if (source.readyState === source.CLOSED) setTimeout(open, 1000)
    }
  }
  open()
}
