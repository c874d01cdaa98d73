import { EventSource } from 'eventsource4'
import { follow, headers } from './report.mjs'

follow(
  (url) =>
    new EventSource(url, {
      fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...headers } }),
    }),
)
