import { api } from './api.js'
import { $, confirm, el, tell } from './dom.js'
import { decode, encode, seek } from './mentions.js'
import { replace } from './room.js'
import { asProblem, changed } from './store.js'

// Changing and deleting a message.

// edit shows a form in the place of a message's text.
export function edit(self, message) {
  const body = self.closest('.body')
  if (body.querySelector('form')) return
  const rest = [...body.querySelectorAll('.text, .more, .work, .foot')]
  const box = el('textarea', { 'aria-label': 'New text of the message', rows: 3 })
  const problem = el('p', { class: 'problem', role: 'alert', hidden: true })
  box.value = decode(message.content)
  const show = (shown) => {
    for (const node of rest) node.hidden = !shown
  }
  const end = () => {
    form.remove()
    show(true)
    self.focus()
    changed('messages') // it may have changed during the edit
  }
  const form = el(
    'form',
    {
      class: 'edit',
      onsubmit: async (e) => {
        e.preventDefault()
        await seek(box.value)
        try {
          const answer = await api('PATCH', `messages/${message.id}`, { body: { content: encode(box.value) } })
          end()
          replace(answer.message)
        } catch (p) {
          tell(problem, asProblem(p).text)
        }
      },
      onkeydown: (e) => {
        if (e.key === 'Escape') end()
        if (e.key === 'Enter' && !e.shiftKey && !e.isComposing && e.target === box) {
          e.preventDefault()
          form.requestSubmit()
        }
      },
    },
    box,
    problem,
    el(
      'div',
      { class: 'row' },
      el('button', { class: 'primary' }, 'Save'),
      el('button', { type: 'button', onclick: end }, 'Cancel'),
    ),
  )
  show(false)
  rest[0].after(form)
  box.focus()
}

// remove deletes a message, after a question.
export async function remove(message) {
  const sure = await confirm({
    title: ['Delete this message?'],
    action: 'Delete',
    text: 'Members will see that there was a message, but not its text. You cannot undo this.',
  })
  if (!sure) return
  const answer = await api('DELETE', `messages/${message.id}`)
  replace(answer.message)
  $('log').focus()
}
