import { EventSource } from 'eventsource3'
import { follow, headers } from './report.mjs'

follow(
  (url) =>
    new EventSource(url, {
      fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...headers } }),
    }),
)
