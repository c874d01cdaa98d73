// What the scripts here share: where the stream is, and how they tell what they hear, a line of JSON for each event.
export const url = process.argv[2]
export const headers = { Authorization: `Bearer ${process.env.TOKEN}` }

// An EventSource hears only the kinds that it asks for.
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

// An EventSource gives up on any answer but 200, such as a proxy's 502: then another one goes on after the last id.
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
