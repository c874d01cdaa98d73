import { api, newKey } from './api.js'
import { kinds } from './details.js'
import { $, announce, bare, button, confirm, el, tell, written } from './dom.js'
import { open } from './room.js'
import { adopt, asProblem, nameOf, store } from './store.js'

// The dialogs that create, join and leave channels.

// go opens a channel through the hash of the URL. null opens none.
export function go(id) {
  location.hash = id ? `#/${id}` : '#/'
}

const creating = $('create')
const form = creating.querySelector('form')
let key

$('new').addEventListener('click', () => {
  form.reset()
  key = newKey()
  clearProblems()
  const guilds = [...new Set([...store.channels.values()].map((c) => c.guildId))].sort()
  $('guilds').replaceChildren(...guilds.map((value) => el('option', { value })))
  form.guildId.value = store.room?.channel?.guildId ?? guilds[0] ?? ''
  fit()
  creating.showModal()
})
form.xType.addEventListener('change', fit)

// fit shows only the fields of the chosen kind of channel.
function fit() {
  const kind = form.xType.value
  $('c-kind-hint').textContent = `Messages ${kinds[kind]}.`
  $('field-name').hidden = kind === 'dm'
  $('field-wakeUserIds').hidden = kind !== 'triage' && kind !== 'custom'
  $('field-wakeUserIds').querySelector('label').textContent = kind === 'triage' ? 'On duty' : 'Wake list'
  $('field-memberUserIds').querySelector('label').textContent = kind === 'dm' ? 'With' : 'Members'
  $('field-more').hidden = kind === 'dm'
}

form.addEventListener('submit', async (e) => {
  e.preventDefault()
  if (form.getAttribute('aria-busy') === 'true') return
  clearProblems()
  const kind = form.xType.value
  const body = { guildId: form.guildId.value.trim(), xType: kind, memberUserIds: ids(form.memberUserIds.value) }
  if (kind !== 'dm')
    Object.assign(body, { name: form.name.value.trim(), private: form.private.checked, history: form.history.value })
  if (kind === 'triage' || kind === 'custom') body.wakeUserIds = ids(form.wakeUserIds.value)
  form.setAttribute('aria-busy', 'true')
  try {
    const { channel } = await api('POST', 'channels', { body, key })
    creating.close()
    await adopt({ channelId: channel.id, ...channel })
    go(channel.id)
  } catch (problem) {
    showProblem(asProblem(problem))
  } finally {
    form.removeAttribute('aria-busy')
  }
})

function ids(text) {
  return text
    .split(/[\s,]+/)
    .map((id) => id.replace(/^@/, ''))
    .filter(Boolean)
}

// showProblem shows each field's problem beside the field, and any other problem below the form.
function showProblem(problem) {
  if (problem.status > 0 && problem.status < 500) key = newKey() // it was refused: the next attempt is a new request
  let first = null
  for (const { field, detail } of problem.fields) {
    const place = $(`field-${field}`)
    if (!place || place.hidden) continue
    const control = place.querySelector('input, select')
    tell(place.querySelector('.problem'), `This ${detail}`)
    control.setAttribute('aria-invalid', 'true')
    first ??= control
  }
  if (first) first.focus()
  else tell($('create-problem'), problem.fields.length > 0 ? problem.message : problem.text)
}

function clearProblems() {
  for (const node of creating.querySelectorAll('.problem')) tell(node, '')
  for (const node of creating.querySelectorAll('[aria-invalid]')) node.removeAttribute('aria-invalid')
}

const joining = $('join')
const joinProblem = (problem) => tell($('join-problem'), asProblem(problem).text)

$('find').addEventListener('click', async () => {
  $('joinable').replaceChildren()
  tell($('join-problem'), '')
  tell($('join-nothing'), 'Loading …')
  joining.showModal()
  await list().catch(joinProblem)
})

// list loads a page of channels and adds those that the user is not in.
async function list(after) {
  const { items, next } = await api('GET', `channels?member=any&limit=200${after ? `&after=${after}` : ''}`)
  const others = items.filter((c) => !store.channels.has(c.id))
  $('joinable').append(
    ...others.map((c) =>
      el(
        'li',
        {},
        el(
          'span',
          { class: 'about' },
          el('strong', {}, written(nameOf(c))),
          el('span', { class: 'kind' }, c.xType),
          el('span', { class: 'guild' }, written(c.guildId)),
        ),
        button('Join', { 'aria-label': `Join ${bare(nameOf(c))} in ${c.guildId}` }, () => join(c), joinProblem),
      ),
    ),
  )
  $('more-joinable').replaceChildren(
    ...(next ? [button('More', { class: 'quiet' }, () => list(next), joinProblem)] : []),
  )
  const count = $('joinable').children.length
  tell(
    $('join-nothing'),
    count > 0
      ? ''
      : next
        ? 'You are already in the channels on this page. There are more.'
        : 'There is no channel to join. A private channel is not listed: one of its members must add you.',
  )
}

async function join(channel) {
  await api('POST', `channels/${channel.id}/join`)
  joining.close()
  await adopt({ channelId: channel.id, ...channel })
  announce(`You have joined ${bare(nameOf(channel))}`)
  if (store.room?.id === channel.id) open(channel.id)
  else go(channel.id)
}

$('join-here').replaceChildren(
  button(
    'Join this channel',
    { class: 'primary' },
    () => join(store.room.channel),
    (problem) => tell($('room-problem'), asProblem(problem).text),
  ),
)

$('leave').addEventListener('click', async () => {
  const { channel } = store.room
  const sure = await confirm({
    title: ['Leave #', written(nameOf(channel)), '?'],
    action: 'Leave',
    text: channel.private
      ? 'This channel is private. You can come back only if a member adds you.'
      : 'You can join it again. Until then you receive none of its messages.',
  })
  if (!sure) return
  try {
    await api('POST', `channels/${channel.id}/leave`)
    store.channels.delete(channel.id)
    store.news.delete(channel.id)
    announce(`You have left ${bare(nameOf(channel))}`)
    go(null)
  } catch (problem) {
    tell($('details-problem'), asProblem(problem).text)
  }
})

for (const dialog of document.querySelectorAll('dialog')) {
  for (const node of dialog.querySelectorAll('[data-close]')) {
    node.addEventListener('click', () => dialog.close(node.dataset.close))
  }
}
