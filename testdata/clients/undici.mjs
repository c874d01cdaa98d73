import { Agent, EventSource } from 'undici'
import { follow, headers } from './report.mjs'

// It takes headers by its dispatcher only.
const dispatcher = new Agent().compose(
  (dispatch) => (options, handler) => dispatch({ ...options, headers: { ...options.headers, ...headers } }, handler),
)
follow((url) => new EventSource(url, { dispatcher }))
setInterval(() => {}, 60_000) // while it waits to come back it does not keep Node alive
