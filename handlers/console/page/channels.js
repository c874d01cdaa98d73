import { $, bare, el, patch, written } from './dom.js'
import { nameOf, store, watch } from './store.js'

// The list of the user's channels, grouped by guild.

watch('channels users', render)

let current = null // id of the channel that was brought into view

const { compare } = new Intl.Collator(undefined, { numeric: true })

function render() {
  const guilds = Map.groupBy(store.channels.values(), (c) => c.guildId)
  const list = $('channels')
  patch(
    list,
    [...guilds.keys()].sort(compare),
    (guild) => guild,
    (guild) => el('section', {}, el('h2', {}, guild), el('ul', { 'aria-label': guild })),
  )
  for (const section of list.children) {
    const channels = guilds.get(section.firstChild.textContent)
    patch(
      section.lastChild,
      channels.map(looks).sort((a, b) => compare(a.name, b.name)),
      (c) => c.id,
      item,
    )
  }
  const link = list.querySelector('[aria-current]')
  if (link && current !== store.room.id) {
    current = store.room.id
    link.scrollIntoView({ block: 'nearest' })
  }
  if (!store.room) current = null
  $('no-channels').hidden = store.channels.size > 0 || !store.cursor
  const woken = [...store.news.values()].reduce((sum, n) => sum + n.woken, 0)
  const open = store.room?.channel ? `${bare(nameOf(store.room.channel))} · ` : ''
  document.title = `${woken ? `(${woken}) ` : ''}${open}Fabric Guild`
}

function looks(channel) {
  const { count, woken } = store.news.get(channel.id) ?? { count: 0, woken: 0 }
  return {
    id: channel.id,
    name: nameOf(channel),
    kind: channel.archivedAt ? 'archived' : channel.xType,
    sign: channel.xType === 'dm' ? '@' : '#',
    count,
    woken,
    current: store.room?.id === channel.id,
  }
}

function item({ id, name, kind, sign, count, woken, current }) {
  return el(
    'li',
    {},
    el(
      'a',
      { href: `#/${id}`, 'aria-current': current && 'page', class: count > 0 && 'new' },
      el('span', { class: 'sign', 'aria-hidden': 'true' }, sign),
      el('span', { class: 'name' }, written(name)),
      el('span', { class: 'kind' }, kind),
      count > 0 &&
        el(
          'span',
          { class: woken ? 'count woke' : 'count' },
          String(woken || count),
          el('span', { class: 'unseen' }, woken ? ` of ${count} new messages woke you` : ' new'),
        ),
    ),
  )
}
