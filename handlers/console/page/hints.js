import { bare } from './dom.js'
import { userName } from './users.js'

// What the server noticed about a message that was just posted: it may not do what its author meant.

const words = {
  plain_mention: (people) => `This did not mention ${people}. Choose the name from the list that opens after @.`,
  not_a_member: (people) => `Not in this channel, so not reached: ${people}. Add them first.`,
  wakes_everyone: () => 'Nobody is mentioned here, so the message wakes everyone.',
}

// hintsOf returns a text with one line for each hint.
export function hintsOf(hints) {
  const people = (ids) => (ids ?? []).map((id) => bare(userName(id))).join(', ')
  return hints.map(({ code, detail, userIds }) => words[code]?.(people(userIds)) ?? detail).join('\n')
}
