import { api } from './api.js'
import { $, announce, bare, confirm, tell, written } from './dom.js'
import { open } from './room.js'
import { asProblem, changed, nameOf, store, watch } from './store.js'

// The settings of a channel: its name, whom its messages may wake, the loop guard, and archiving.

const dialog = $('settings')
const form = dialog.querySelector('form')
const fields = ['name', 'humanWakes', 'agentWakes', 'loopLimit']

// maySteer reports whether the user may change the open channel. The creator may. After the creator has left, any
// member may.
export function maySteer({ id, channel, details }) {
  if (!details || !store.channels.has(id) || channel.archivedAt) return false
  return channel.createdBy === store.me.userId || !details.members.some((m) => m.userId === channel.createdBy)
}

watch('room', () => {
  const { room } = store
  $('change-channel').hidden = !room?.channel || room.channel.xType === 'dm' || !maySteer(room)
})

$('change-channel').addEventListener('click', () => {
  const { channel } = store.room
  clear()
  for (const name of fields) form[name].value = channel[name]
  const bounded = channel.xType !== 'discuss' && channel.xType !== 'work' // there a message wakes one member
  $('setting-humanWakes').hidden = $('setting-agentWakes').hidden = !bounded
  const mentions = channel.xType === 'triage' ? 'who is mentioned or on duty' : 'only who is mentioned'
  for (const option of form.querySelectorAll('[value=mentions]')) option.textContent = `of those, ${mentions}`
  dialog.showModal()
})

form.addEventListener('submit', async (e) => {
  e.preventDefault()
  if (form.getAttribute('aria-busy') === 'true') return
  clear()
  const { channel, id } = store.room
  const body = {}
  for (const name of fields) {
    const value = name === 'loopLimit' ? Number(form[name].value) : form[name].value.trim()
    if (value !== channel[name]) body[name] = value
  }
  if (Object.keys(body).length === 0) return dialog.close()
  form.setAttribute('aria-busy', 'true')
  try {
    take(id, (await api('PATCH', `channels/${id}`, { body })).channel)
    dialog.close()
    announce('The channel was changed')
  } catch (problem) {
    show(asProblem(problem))
  } finally {
    form.removeAttribute('aria-busy')
  }
})

// take shows the channel as the server has it now.
function take(id, channel) {
  if (store.channels.has(id)) Object.assign(store.channels.get(id), channel)
  if (store.room?.id === id) Object.assign(store.room.channel, channel)
  changed('room', 'channels')
}

function show(problem) {
  let first = null
  for (const { field, detail } of problem.fields) {
    const place = $(`setting-${field}`)
    if (!place) continue
    tell(place.querySelector('.problem'), `This ${detail}`)
    form[field].setAttribute('aria-invalid', 'true')
    first ??= form[field]
  }
  if (first) first.focus()
  else tell($('settings-problem'), problem.text)
}

function clear() {
  for (const node of dialog.querySelectorAll('.problem')) tell(node, '')
  for (const node of dialog.querySelectorAll('[aria-invalid]')) node.removeAttribute('aria-invalid')
}

$('archive').addEventListener('click', async () => {
  const { channel, id } = store.room
  const sure = await confirm({
    title: ['Archive #', written(nameOf(channel)), '?'],
    action: 'Archive',
    text: 'Nobody can post in it or join it any more. Its members and its messages stay: see “Archived channels”. You cannot undo this.',
  })
  if (!sure) return
  try {
    take(id, (await api('DELETE', `channels/${id}`)).channel)
    dialog.close()
    announce(`${bare(nameOf(channel))} is archived`)
    open(id)
    $('details').focus() // the button that opened the dialog is gone
  } catch (problem) {
    tell($('settings-problem'), asProblem(problem).text)
  }
})
