// el makes an element. Children that are strings go in as text: nothing that a user wrote is ever parsed as
// HTML. A property that is undefined, null or false is left out; onclick and the like are listeners.
export function el(tag, properties, ...children) {
  const node = document.createElement(tag)
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value)
    else node.setAttribute(name, value === true ? '' : value)
  }
  node.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false))
  return node
}

const shown = new WeakMap() // by parent: {item, node} by key
// patch shows items as the children of parent. A node whose item is as before, field by field, stays: it may
// have the focus, or be about to be clicked. One with a form stays until that is gone: somebody writes there.
export function patch(parent, items, keyOf, make) {
  const before = shown.get(parent) ?? new Map()
  const after = new Map()
  let place = parent.firstChild
  for (let item of items) {
    const key = keyOf(item)
    const known = before.get(key)
    let node = known?.node
    if (node?.querySelector('form')) {
      item = known.item // what it shows
    } else if (!node || !same(known.item, item)) {
      node = make(item)
      if (known) {
        const at = controls(known.node).indexOf(document.activeElement)
        if (known.node === place) place = node
        known.node.replaceWith(node)
        if (at >= 0) controls(node)[at]?.focus()
      }
    }
    if (node === place) place = place.nextSibling
    else parent.insertBefore(node, place)
    after.set(key, { item, node })
    before.delete(key)
  }
  for (const { node } of before.values()) node.remove()
  shown.set(parent, after)
}

function same(a, b) {
  return a === b || (Object(a) === a && Object.keys(b).every((name) => a[name] === b[name]))
}
function controls(node) {
  return [node, ...node.querySelectorAll('a, button')]
}

export const $ = (id) => document.getElementById(id)

// written is a text that somebody wrote, isolated from the texts around it: a U+202E in it, or letters that run from
// right to left, must not reorder those.
export function written(text) {
  return el('bdi', {}, text)
}

// bare is such a text for a place that takes no elements, such as a title or a label: without the characters that
// change the direction of what follows.
export function bare(text) {
  return text.replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '')
}

// button is a button that does its work once at a time, and hands an error to failed.
export function button(label, properties, work, failed) {
  const node = el('button', { type: 'button', ...properties }, label)
  node.addEventListener('click', async () => {
    if (node.getAttribute('aria-disabled') === 'true') return
    node.setAttribute('aria-disabled', 'true') // disabled itself would lose the focus
    try {
      await work(node)
    } catch (problem) {
      failed(problem)
    } finally {
      node.removeAttribute('aria-disabled')
    }
  })
  return node
}

// tell puts a text, or nothing, into an element that announces it (role alert or status).
export function tell(node, text) {
  node.textContent = text ?? ''
  node.hidden = !text
}

let announcing
// announce has a screen reader say a text once it has finished what it says.
export function announce(text) {
  const node = $('announcer')
  node.textContent = ''
  clearTimeout(announcing)
  announcing = setTimeout(() => {
    node.textContent = text
  }, 50) // the same text twice is said twice
}

// confirm asks before what cannot be undone. title is the nodes and texts of the question. It resolves to whether the
// answer is yes.
export function confirm({ title, text, action }) {
  const dialog = $('confirm')
  dialog.querySelector('h2').replaceChildren(...title)
  dialog.querySelector('p').textContent = text
  dialog.querySelector('.primary').textContent = action
  dialog.returnValue = ''
  dialog.showModal()
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true })
  })
}

// hue picks one of the eight colours that stand for users.
export function hue(userId) {
  let sum = 0
  for (const letter of userId) sum = (sum * 31 + letter.codePointAt(0)) % 4096
  return `hue-${sum % 8}`
}

export function avatar(userId) {
  return el('span', { class: `avatar ${hue(userId)}`, 'aria-hidden': 'true' }, userId.slice(0, 1).toUpperCase())
}
