import { announce, button, el } from './dom.js'
import { chip } from './mentions.js'

// The text of a message, from the HTML that the server made of it. The HTML is parsed in a document that runs and
// loads nothing. What is shown is built anew from the elements below, so that nothing else can get onto the page.

const same = ['P', 'BR', 'HR', 'EM', 'STRONG', 'DEL', 'CODE', 'BLOCKQUOTE', 'UL', 'LI', 'THEAD', 'TBODY', 'TR']
const policy = globalThis.trustedTypes?.createPolicy('markdown', { createHTML: (html) => html })

// prose returns the nodes of a text.
export function prose(html) {
  const parsed = new DOMParser().parseFromString(policy ? policy.createHTML(html) : html, 'text/html')
  return inside(parsed.body)
}

function inside(node) {
  return [...node.childNodes].map(copy)
}

function copy(node) {
  if (node.nodeType === Node.TEXT_NODE) return node.data === '\n' ? '' : afterBreak(node)
  if (node.nodeType !== Node.ELEMENT_NODE) return ''
  const tag = node.tagName
  if (same.includes(tag)) return el(tag, tag === 'P' || tag === 'LI' ? { dir: 'auto' } : {}, ...inside(node))
  if (/^H[1-6]$/.test(tag)) return el('p', { class: `heading h${tag[1]}`, dir: 'auto' }, ...inside(node)) // not one of the page
  if (tag === 'OL')
    return el(
      'ol',
      { start: /^\d{1,9}$/.test(node.getAttribute('start')) && node.getAttribute('start') },
      ...inside(node),
    )
  if (tag === 'TH' || tag === 'TD') return el(tag, { class: side(node) }, ...inside(node))
  if (tag === 'TABLE')
    return el(
      'div',
      { class: 'table', tabindex: 0, role: 'group', 'aria-label': 'Table' },
      el('table', {}, ...inside(node)),
    )
  if (tag === 'PRE') return code(node)
  if (tag === 'A') return link(node)
  if (tag === 'SPAN' && node.dataset.userId) return chip(node.dataset.userId)
  return node.textContent
}

// The text after a break begins with the line end that the break stands for.
function afterBreak(node) {
  return node.previousSibling?.nodeName === 'BR' ? node.data.replace(/^\n/, '') : node.data
}

function side(cell) {
  const align = cell.getAttribute('align')
  return (align === 'right' || align === 'center') && align
}

function link(node) {
  const href = node.getAttribute('href') ?? ''
  if (!/^(?:https?:\/\/|mailto:)/i.test(href)) return el('span', {}, ...inside(node))
  return el('a', { href, rel: 'noopener noreferrer nofollow', target: '_blank' }, ...inside(node))
}

function code(node) {
  const text = node.textContent.replace(/\n$/, '')
  const language = /^language-([\w+#.-]{1,32})$/.exec(node.querySelector('code')?.className)?.[1]
  const shown = el('pre', { tabindex: 0, role: 'group', 'aria-label': 'Code' }, el('code', {}, text))
  return el(
    'div',
    { class: 'code', dir: 'ltr' },
    el(
      'p',
      { class: 'row' },
      el('span', {}, language ?? ''),
      button('Copy', { class: 'quiet' }, (self) =>
        copyText(shown, text).then(
          () => tellAt(self, 'Copied', 'Copied'),
          () => tellAt(self, 'Not copied', 'The code could not be copied'),
        ),
      ),
    ),
    shown,
  )
}

async function copyText(shown, text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text)
  } else {
    getSelection().selectAllChildren(shown) // on plain HTTP a browser has no clipboard for scripts
    document.execCommand('copy')
  }
}

// tellAt shows the result of a click in its button, until the user goes elsewhere.
function tellAt(node, label, spoken) {
  node.textContent = label
  announce(spoken)
  const reset = () => {
    node.textContent = 'Copy'
  }
  node.addEventListener('mouseleave', reset, { once: true })
  node.addEventListener('blur', reset, { once: true })
}

const foldedLines = 32
const foldedLength = 3_000
const unfolded = new Set() // ids of messages

// fold makes a long message short, with a button that shows the rest. Other messages come back as they are.
export function fold(message, text) {
  const content = message.content ?? ''
  const long = content.length > foldedLength || content.split('\n').length > foldedLines
  if (!long || unfolded.has(message.id)) return text
  text.classList.add('folded')
  const more = button('Show more', { class: 'quiet more', 'aria-expanded': 'false' }, () => {
    unfolded.add(message.id)
    text.classList.remove('folded')
    more.remove()
    text.setAttribute('tabindex', '-1')
    text.focus({ preventScroll: true })
  })
  text.addEventListener('focusin', () => more.click(), { once: true }) // a link in it was reached with the keyboard
  return [text, more]
}
