import { api, newKey } from './api.js'
import { $, announce, bare, el, tell } from './dom.js'
import { hintsOf } from './hints.js'
import { encode, handle, people, seek } from './mentions.js'
import { answer, answered } from './replying.js'
import { posted, reload } from './room.js'
import { asProblem, nameOf, store, watch } from './store.js'
import { agentMark, userName } from './users.js'

// The composer. It suggests members after "@", and commands after "/" at the start of a message.

const commands = [
  ['/pass', 'give the turn to the next member'],
  ['/turn', 'give the turn to a member: /turn @USER'],
  ['/pause', 'pause the turns: messages wake nobody'],
  ['/resume', 'resume the turns'],
  ['/go', 'let agents wake each other again, after the loop guard'],
  ['/stop', 'ask a member’s worker to stop: /stop @USER'],
  ['/me', 'describe what you do: /me TEXT'],
  ['/help', 'list the commands'],
]

const ofTurns = ['/pass', '/turn', '/pause', '/resume']

const form = $('composer')
const box = $('text')
const suggestions = $('suggestions')
const drafts = new Map() // by channel id
let roomId = null
let options = [] // {insert, from, to}
let chosen = 0
let focusing = false
const attempts = new Map() // by channel id: {content, body, key}: sent, but the answer is unknown

watch('room', () => {
  const { room } = store
  if (room?.id !== roomId) {
    if (roomId) drafts.set(roomId, box.value)
    roomId = room?.id ?? null
    box.value = drafts.get(roomId) ?? ''
    say('', '')
    close()
  }
  const channel = room?.channel
  form.hidden = !room?.loaded || Boolean(channel?.archivedAt) || !store.channels.has(roomId)
  const name = channel ? `Message ${channel.xType === 'dm' ? '@' : '#'}${bare(nameOf(channel))}` : 'Message'
  box.placeholder = name
  box.setAttribute('aria-label', name)
  if (focusing && !form.hidden) {
    focusing = false
    box.focus()
  }
})

// focus moves the focus to the text box, as soon as the box is shown.
export function focus() {
  focusing = form.hidden || !store.room?.loaded // until the page shows another channel, it shows the old box
  if (!focusing) box.focus()
}

form.addEventListener('submit', async (e) => {
  e.preventDefault()
  const content = box.value
  if (content.trim() === '' || form.getAttribute('aria-busy') === 'true') return
  // After a lost answer, the same text is sent with the same key, so that it is posted only once.
  const at = roomId
  const { room } = store
  const replyTo = answered()
  form.setAttribute('aria-busy', 'true')
  say('', '')
  box.value = ''
  if (attempts.get(at)?.content !== content) {
    await seek(content, room)
    attempts.set(at, { content, body: bodyOf(encode(content, room), replyTo), key: newKey() })
  }
  const { body, key } = attempts.get(at)
  try {
    const result = await api('POST', `channels/${at}/messages`, { body, key })
    attempts.delete(at)
    if (body.replyTo && body.replyTo === answered()) answer(null)
    if (result.message) posted(result)
    else if (at === roomId) carriedOut(result)
    if (result.hints && at === roomId) say(hintsOf(result.hints), '')
  } catch (problem) {
    const p = asProblem(problem)
    const unknown = p.passing
    if (!unknown) attempts.delete(at)
    const since = at === roomId ? box.value : drafts.get(at)
    const both = since ? `${content}\n${since}` : content
    const why = unknown ? `${p.text}. Your text is still here. Send it again: it will be posted only once.` : p.text
    if (at === roomId) {
      box.value = both
      return say('', why)
    }
    drafts.set(at, both)
    const channel = store.channels.get(at)
    say('', `What you wrote ${channel ? `in ${bare(nameOf(channel))}` : 'before'} was not sent; it is still there.`)
  } finally {
    form.removeAttribute('aria-busy')
  }
})

// bodyOf returns the body of a post. A command answers no message.
function bodyOf(content, replyTo) {
  return /^\/(?!me\s|\/)/.test(content) ? { content } : { content, replyTo }
}

function carriedOut({ help, turn }) {
  if (help) return say(help, '')
  if (!turn) return say('Done.', '')
  reload()
  say(
    turn.paused
      ? 'The turns are paused.'
      : `It is ${turn.userId === store.me.userId ? 'your' : `${bare(userName(turn.userId))}’s`} turn.`,
    '',
  )
}

function say(notice, problem) {
  tell($('composer-notice'), notice)
  tell($('composer-problem'), problem)
}

box.addEventListener('keydown', (e) => {
  if (e.isComposing) return
  if (options.length > 0) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[e.key]
    if (step) {
      choose((chosen + step + options.length) % options.length)
      return e.preventDefault()
    }
    if (e.key === 'Enter' || e.key === 'Tab') {
      take(chosen)
      return e.preventDefault()
    }
    if (e.key === 'Escape') {
      close()
      return e.preventDefault()
    }
  }
  if (e.key === 'Enter' && !e.shiftKey) {
    e.preventDefault()
    form.requestSubmit()
  }
})
box.addEventListener('input', suggest)
box.addEventListener('blur', close)

function suggest() {
  const before = box.value.slice(0, box.selectionStart)
  const name = /(?:^|[\s([{"'“])@([^\s@][^@\n]{0,63}|)$/.exec(before)
  const slash = /^\/([a-z]*)$/.exec(before)
  options = []
  if (name) {
    const wanted = name[1].toLowerCase()
    seekSoon()
    options = people()
      .filter((u) => u !== store.me.userId && names(u).some((n) => n.includes(wanted)))
      .sort((a, b) => begins(b, wanted) - begins(a, wanted))
      .slice(0, 8)
      .map((u) => ({
        label: `@${bare(userName(u))}`,
        does: userName(u) === u ? '' : u,
        mark: agentMark(u),
        insert: `@${handle(u)} `,
        from: before.length - name[1].length - 1,
      }))
  } else if (slash) {
    const turns = Boolean(store.room?.details?.turn)
    options = commands
      .filter(([c]) => c.startsWith(slash[0]) && (turns || !ofTurns.includes(c)))
      .map(([c, does]) => ({
        label: c,
        does,
        insert: `${c}${['/me', '/turn', '/stop'].includes(c) ? ' ' : ''}`,
        from: 0,
      }))
    if (options.length === 1 && options[0].insert === slash[0]) options = [] // nothing is left to complete
  }
  for (const o of options) o.to = before.length
  suggestions.replaceChildren(
    ...options.map((o, i) =>
      el(
        'li',
        {
          role: 'option',
          id: `suggestion-${i}`,
          onmousedown: (e) => {
            e.preventDefault()
            take(i)
          },
        },
        el('span', {}, o.label, ' ', o.mark),
        o.does && el('small', {}, o.does),
      ),
    ),
  )
  suggestions.hidden = options.length === 0
  if (options.length > 0) {
    choose(0)
    announce(
      options.length === 1
        ? `${options[0].label}: press Enter to insert it`
        : `${options.length} suggestions: choose with the arrow keys`,
    )
  } else {
    box.removeAttribute('aria-activedescendant')
  }
}

let seeking
// seekSoon looks for those whom the page does not know, and suggests them if the user still writes the same name.
function seekSoon() {
  clearTimeout(seeking)
  seeking = setTimeout(async () => {
    const before = box.value.slice(0, box.selectionStart)
    const found = await seek(before.slice(before.lastIndexOf('@')))
    if (found && document.activeElement === box && box.value.slice(0, box.selectionStart) === before) suggest()
  }, 150)
}

// names returns what a member is found by.
function names(userId) {
  return [userId.toLowerCase(), userName(userId).toLowerCase()]
}

function begins(userId, wanted) {
  return names(userId).some((name) => name.startsWith(wanted))
}

function choose(i) {
  chosen = i
  for (const [at, node] of [...suggestions.children].entries()) node.setAttribute('aria-selected', String(at === i))
  box.setAttribute('aria-activedescendant', `suggestion-${i}`)
  suggestions.children[i].scrollIntoView({ block: 'nearest' })
}

function take(i) {
  const { insert, from, to } = options[i]
  box.setRangeText(insert, from, to, 'end')
  close()
}

function close() {
  options = []
  suggestions.hidden = true
  box.removeAttribute('aria-activedescendant')
}
