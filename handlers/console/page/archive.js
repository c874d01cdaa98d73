import { api } from './api.js'
import { $, button, el, tell, written } from './dom.js'
import { asProblem } from './store.js'

// The dialog that lists the user's archived channels. They are not in the list of channels.

const dialog = $('archived')
const failed = (problem) => {
  tell($('archived-status'), '')
  tell($('archived-problem'), asProblem(problem).text)
}

$('find-archived').addEventListener('click', async () => {
  $('archived-channels').replaceChildren()
  $('more-archived').replaceChildren()
  tell($('archived-problem'), '')
  tell($('archived-status'), 'Loading …')
  dialog.showModal()
  await list().catch(failed)
})
$('archived-channels').addEventListener('click', (e) => {
  if (e.target.closest('a')) dialog.close()
})

async function list(after) {
  const { items, next } = await api('GET', `channels?archived=true&limit=200${after ? `&after=${after}` : ''}`)
  $('archived-channels').append(
    ...items.map((c) =>
      el('li', {}, el('a', { href: `#/${c.id}` }, written(c.name)), el('span', { class: 'guild' }, written(c.guildId))),
    ),
  )
  $('more-archived').replaceChildren(...(next ? [button('More', { class: 'quiet' }, () => list(next), failed)] : []))
  tell($('archived-status'), $('archived-channels').children.length > 0 ? '' : 'You are in no archived channel.')
}
