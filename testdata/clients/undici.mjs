import { Agent, EventSource } from 'undici'
import { follow, headers } from './report.mjs'

// This EventSource takes headers only through its dispatcher.
const dispatcher = new Agent().compose(
  (dispatch) => (options, handler) => dispatch({ ...options, headers: { ...options.headers, ...headers } }, handler),
)
follow((url) => new EventSource(url, { dispatcher }))
setInterval(() => {}, 60_000) // keeps Node alive while the EventSource waits to reconnect
