// Users and channels, so that the agent can find whom it may write to, and targets of its own messages.

const maxPages = 10

/** Returns lookups in OpenClaw's shape, and `channelOf(to)`, which resolves a target to a channel's id. */
export function directory(api) {
  async function all(path, query, limit = 1000) {
    const items = []
    let after
    for (let page = 0; page < maxPages && items.length < limit; page++) {
      const parameters = new URLSearchParams({ ...query, ...(after && { after }) })
      const answer = await api.call('GET', `${path}?${parameters}`)
      items.push(...answer.items)
      after = answer.next
      if (!after) break
    }
    return items.slice(0, limit)
  }
  const peer = (user) => ({
    kind: 'user',
    id: `user:${user.userId}`,
    name: user.displayName ?? user.userId,
    handle: user.userId,
  })
  const group = (channel) => ({ kind: 'group', id: channel.id, name: `#${channel.name}`, handle: channel.name })
  const matching = (entries, query, limit) => {
    const wanted = query?.trim().toLowerCase().replace(/^[#@]/, '')
    const found = wanted
      ? entries.filter(({ name, handle }) => `${name} ${handle}`.toLowerCase().includes(wanted))
      : entries
    return found.slice(0, limit ?? undefined)
  }
  const channels = () => all('/api/channels', {})

  return {
    async self() {
      const me = await api.call('GET', '/api/me')
      return peer(me)
    },
    async peers({ query, limit }) {
      return matching((await all('/api/users', {})).map(peer), query, limit)
    },
    async groups({ query, limit }) {
      return matching((await channels()).filter(({ xType }) => xType !== 'dm').map(group), query, limit)
    },
    async members({ groupId }) {
      return (await all(`/api/channels/${groupId.replace(/^fabric:/, '')}/members`, {})).map(peer)
    },
    async channelOf(to) {
      const target = to.trim().replace(/^fabric:/, '')
      const user = /^(?:user:|@)(.+)$/.exec(target)?.[1]
      if (user) return dm(user)
      if (!target.startsWith('#')) return target
      const named = (await channels()).filter(({ name }) => name === target.slice(1))
      if (named.length === 1) return named[0].id
      throw new Error(
        named.length ? `${target} names ${named.length} channels: use an id` : `there is no channel ${target}`,
      )
    },
  }

  /** The dm with a user. It exists once per guild, so creating it finds it. */
  async function dm(user) {
    const [first] = await all('/api/channels', {}, 1)
    if (!first) throw new Error('join a channel first: a dm belongs to a guild')
    const body = { guildId: first.guildId, xType: 'dm', memberUserIds: [user] }
    return (await api.call('POST', '/api/channels', body)).channel.id
  }
}
