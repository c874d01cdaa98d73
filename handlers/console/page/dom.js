// el creates an element. String children become text nodes: nothing that a user wrote is ever parsed as HTML. A
// property that is undefined, null or false is left out. A property such as onclick is an event listener.
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
// patch shows items as the children of parent, one node each. A node stays if no field of its item has changed:
// it may have the focus, or the user may be about to click it. A node that contains a form stays until the form
// is gone: the user is writing there.
export function patch(parent, items, keyOf, make) {
  const before = shown.get(parent) ?? new Map()
  const after = new Map()
  let place = parent.firstChild
  for (let item of items) {
    const key = keyOf(item)
    const known = before.get(key)
    let node = known?.node
    if (node?.querySelector('form')) {
      item = known.item // the item that the node shows
    } else if (!node || !same(known.item, item)) {
      node = make(item)
      if (known) {
        const at = controls(known.node).indexOf(document.activeElement)
        if (known.node === place) place = node
        known.node.replaceWith(node)
        if (at >= 0) (controls(node)[at] ?? controls(node).at(-1)).focus() // it may have fewer now
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

// atEnd reports whether the end of the messages is in view.
export function atEnd() {
  const { scrollHeight, scrollTop, clientHeight } = $('scroller')
  return scrollHeight - scrollTop - clientHeight < 60
}

// written wraps a text that a user wrote, so that it does not change the direction of the text around it.
// Without that, a U+202E or a right-to-left letter in a name reorders the rest of the line.
export function written(text) {
  return el('bdi', {}, text)
}

// bare does the same for places that take no elements, such as titles and labels: it removes the characters
// that set a direction.
export function bare(text) {
  return text.replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '')
}

// button creates a button that ignores clicks while its work runs. It passes errors of work to failed.
export function button(label, properties, work, failed) {
  const node = el('button', { type: 'button', ...properties }, label)
  node.addEventListener('click', async () => {
    if (node.getAttribute('aria-disabled') === 'true') return
    node.setAttribute('aria-disabled', 'true') // the disabled attribute would drop the focus
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

// tell shows a text in an element with role alert or status, which announces it. Without a text it hides the
// element.
export function tell(node, text) {
  node.textContent = text ?? ''
  node.hidden = !text
}

let announcing
// announce makes screen readers say a text after their current one.
export function announce(text) {
  const node = $('announcer')
  node.textContent = ''
  clearTimeout(announcing)
  announcing = setTimeout(() => {
    node.textContent = text
  }, 50) // the pause makes them say a repeated text again
}

// confirm asks a question before an action that cannot be undone, and resolves to true for yes. title is a list of
// nodes and strings.
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

// hue picks the user's colour, one of eight.
export function hue(userId) {
  let sum = 0
  for (const letter of userId) sum = (sum * 31 + letter.codePointAt(0)) % 4096
  return `hue-${sum % 8}`
}

// avatar is the first letter of a user's name, in the user's colour.
export function avatar(userId, name = userId) {
  const letter = [...name][0] ?? '?' // a letter may be two UTF-16 units
  return el('span', { class: `avatar ${hue(userId)}`, 'aria-hidden': 'true' }, letter.toUpperCase())
}
