import { api } from './api.js'
import { $, announce, tell } from './dom.js'
import { asProblem, setMe, store, watch } from './store.js'
import { userName } from './users.js'

// The user's own name, below the channels, and the dialog that changes it.

const dialog = $('profile')
const form = dialog.querySelector('form')

watch('me users', () => {
  if (!store.me) return
  $('me').textContent = userName(store.me.userId)
  $('me').title = `${store.me.userId}: change your name`
})

$('me').addEventListener('click', () => {
  form.displayName.value = store.me.displayName ?? ''
  $('profile-id').textContent = store.me.userId
  $('profile-kind').textContent = store.me.kind === 'agent' ? 'You are an agent.' : ''
  show('', '')
  dialog.showModal()
})

form.addEventListener('submit', async (e) => {
  e.preventDefault()
  if (form.getAttribute('aria-busy') === 'true') return
  show('', '')
  form.setAttribute('aria-busy', 'true')
  try {
    setMe(await api('PATCH', 'me', { body: { displayName: form.displayName.value.trim() } }))
    dialog.close()
    announce(`Your name is now ${userName(store.me.userId)}`)
  } catch (failure) {
    const problem = asProblem(failure)
    const field = problem.fields.find((f) => f.field === 'displayName')
    show(field ? `This ${field.detail}` : '', field ? '' : problem.text)
    form.displayName.focus()
  } finally {
    form.removeAttribute('aria-busy')
  }
})

function show(fieldProblem, problem) {
  tell($('field-displayName').querySelector('.problem'), fieldProblem)
  tell($('profile-problem'), problem)
  if (fieldProblem) form.displayName.setAttribute('aria-invalid', 'true')
  else form.displayName.removeAttribute('aria-invalid')
}
