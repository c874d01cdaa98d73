// Users and channels, so that the agent can find whom it may write to, and targets of its own messages.

/** Returns lookups in OpenClaw's shape, and `channelOf(to)`, which resolves a target to a channel's id. */
export function directory(api) {
  async function list(path, query) {
    const found = []
    let after = ''
    for (let pages = 0; pages < 10 && after !== null; pages++) {
      const page = await api.call('GET', `${path}?${new URLSearchParams({ ...query, limit: 200, after })}`)
      found.push(...page.items)
      after = page.next
    }
    return found
  }
  const groups = async () => (await list('/api/channels')).filter(({ xType }) => xType !== 'dm')
  const user = ({ userId, displayName }) => ({ kind: 'user', id: `user:${userId}`, name: displayName ?? userId })
  const bare = (query) => query?.trim().toLowerCase().replace(/^[#@]/, '') ?? ''

  return {
    async self() {
      return user(await api.call('GET', '/api/me'))
    },
    async peers({ query, limit }) {
      const q = bare(query)
      return (await list('/api/users', q && { q })).map(user).slice(0, limit ?? undefined)
    },
    async groups({ query, limit }) {
      const found = (await groups()).filter(({ name }) => name.toLowerCase().includes(bare(query)))
      return found.map(({ id, name }) => ({ kind: 'group', id, name: `#${name}` })).slice(0, limit ?? undefined)
    },
    async channelOf(to) {
      const [, mark, name] = /^(?:fabric:)?(user:|@|#|)(.*)$/.exec(to.trim())
      if (mark === '') return name
      if (mark !== '#') return dm(name)
      const named = (await groups()).filter((channel) => channel.name === name)
      if (named.length === 1) return named[0].id
      throw new Error(`#${name} is the name of ${named.length} channels: use the id of one`)
    },
  }

  /** The dm with a user. It exists once per guild, so creating it finds it. */
  async function dm(userId) {
    const { items } = await api.call('GET', '/api/channels?limit=1')
    if (!items.length) throw new Error('join a channel first: a dm belongs to a guild')
    const body = { guildId: items[0].guildId, xType: 'dm', memberUserIds: [userId] }
    return (await api.call('POST', '/api/channels', body)).channel.id
  }
}
