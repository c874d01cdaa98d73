import { api } from './api.js'
import { $, announce, avatar, bare, button, el, patch, tell, written } from './dom.js'
import { loadMembers, reload, unloaded } from './room.js'
import { maySteer } from './settings.js'
import { asProblem, nameOf, store, watch } from './store.js'
import { agentMark, isAgent, lookUp, userName, who } from './users.js'

// The header of the open channel, and the panel of its members, duty and turn.

// kinds says for each kind of channel what messages in it do.
export const kinds = {
  general: 'wake everyone, or only the members who are mentioned',
  report: 'wake nobody',
  triage: 'wake the members on duty and those who are mentioned; nobody else receives them',
  custom: 'wake the members on the wake list',
  dm: 'wake the other member',
  discuss: 'wake the member whose turn it is',
  work: 'wake the member whose turn it is',
}

watch('room users', render)
const failed = (problem) => tell($('details-problem'), asProblem(problem).text)
let roomId = null

function render() {
  const { room } = store
  const channel = room?.channel
  if (room?.id !== roomId) {
    roomId = room?.id ?? null
    tell($('details-problem'), '')
  }
  $('welcome').hidden = Boolean(room)
  $('room-name').replaceChildren(channel ? written(nameOf(channel)) : room ? 'Channel' : 'No channel is open')
  $('room-kind').textContent = channel?.xType ?? ''
  $('room-kind').hidden = !channel
  $('room-about').textContent = channel ? about(channel) : ''
  $('leave').hidden = !channel || !store.channels.has(room.id) || channel.xType === 'dm'
  $('loading').hidden = !room || room.loaded || Boolean(room.problem)
  renderProblem(room)
  $('triage-note').hidden =
    !room?.loaded || channel.xType !== 'triage' || Boolean(room.details.wakeUserIds?.includes(store.me.userId))
  $('members-section').hidden = !room?.details
  if (room?.details) renderMembers(room)
}

function about(channel) {
  const parts = [`Messages ${kinds[channel.xType]}`, ...limits(channel)]
  if (channel.private) parts.push('private')
  if (channel.history === 'all') parts.push('new members see the whole history')
  if (channel.archivedAt) parts.push('archived: nobody can post')
  return parts.join(' · ')
}

// limits says which messages of a channel wake fewer than its kind does.
function limits({ xType, humanWakes, agentWakes }) {
  if (!['general', 'triage', 'custom'].includes(xType)) return []
  const fewer = { mentions: xType !== 'triage' && 'only who is mentioned', none: 'nobody' } // triage keeps the duty
  return [
    fewer[humanWakes] && `those of people: ${fewer[humanWakes]}`,
    fewer[agentWakes] && `those of agents: ${fewer[agentWakes]}`,
  ].filter(Boolean)
}

function renderProblem(room) {
  const outside = room?.problem?.code === 'not_member' && room.details
  tell($('room-problem'), outside ? 'You are not in this channel.' : room?.problem?.text)
  const join = $('join-here')
  join.hidden = !outside || Boolean(room.channel?.archivedAt)
}

function renderMembers(room) {
  const { details, channel } = room
  const { members, memberCount, wakeUserIds, turn } = details
  const mine = store.channels.has(room.id) && !channel.archivedAt
  $('members-count').textContent = String(memberCount)
  patch(
    $('members'),
    members.map(({ userId }) => ({
      userId,
      name: userName(userId),
      agent: isAgent(userId),
      you: userId === store.me.userId,
      turn: turn?.userId === userId ? (turn.paused ? 'turn (paused)' : 'turn') : '',
      duty: wakeUserIds ? wakeUserIds.includes(userId) : null,
      mayChange: maySteer(room),
    })),
    (m) => m.userId,
    member,
  )
  const more = unloaded(details)
  patch(
    $('more-members'),
    more > 0 ? [more] : [],
    () => '',
    () => button(`Show more (${more})`, { class: 'quiet' }, loadMembers, failed),
  )
  const word = channel.xType === 'triage' ? 'On duty' : 'Wake list'
  $('duty').hidden = !wakeUserIds
  const people = wakeUserIds?.map((id) => bare(userName(id))).join(', ')
  $('duty').textContent = wakeUserIds ? `${word}: ${people || 'nobody'}` : ''
  lookUp(wakeUserIds ?? [])
  $('turn').hidden = !turn
  if (turn) renderTurn(room, mine)
  $('add-member').hidden = !mine || channel.xType === 'dm'
}

function member({ userId, name, you, turn, duty, mayChange }) {
  return el(
    'li',
    {},
    avatar(userId, name),
    el('span', { class: 'name' }, who(userId)),
    el(
      'span',
      { class: 'marks' },
      agentMark(userId),
      you && el('span', { class: 'mark' }, 'you'),
      turn && el('span', { class: 'mark turn' }, turn),
      duty !== null && dutyMark(userId, duty, mayChange),
    ),
  )
}

function dutyMark(userId, on, mayChange) {
  const word = dutyWord()
  if (!mayChange) return on && el('span', { class: 'mark duty' }, word)
  return button(
    word,
    { class: 'mark duty', 'aria-pressed': String(on), 'aria-label': `${bare(userName(userId))}: ${word}` },
    async () => {
      const { id, details } = store.room
      const userIds = on ? details.wakeUserIds.filter((u) => u !== userId) : [...details.wakeUserIds, userId]
      details.wakeUserIds = (await api('PUT', `channels/${id}/wake`, { body: { userIds } })).userIds
      tell($('details-problem'), '')
      render()
    },
    failed,
  )
}

function dutyWord() {
  return store.room.channel.xType === 'triage' ? 'on duty' : 'wake list'
}

function renderTurn({ details: { turn } }, mine) {
  const isMine = turn.userId === store.me.userId
  const whose = isMine ? 'your' : turn.userId ? `${bare(userName(turn.userId))}’s` : 'nobody’s'
  $('turn-of').textContent = `It is ${whose} turn.${turn.paused ? ' The turns are paused: messages wake nobody.' : ''}`
  const actions = mine ? [isMine ? 'Pass' : 'Take', turn.paused ? 'Resume' : 'Pause'] : []
  patch(
    $('turn-actions'),
    actions,
    (action) => actions.indexOf(action),
    (action) =>
      button(
        action,
        {},
        async () => {
          const { id, details } = store.room
          details.turn = (await api('POST', `channels/${id}/turn`, { body: { action: action.toLowerCase() } })).turn
          tell($('details-problem'), '')
          render()
          announce($('turn-of').textContent)
        },
        failed,
      ),
  )
}

$('add-member').addEventListener('submit', async (e) => {
  e.preventDefault()
  const box = $('new-member')
  const user = box.value.trim().replace(/^@/, '')
  tell($('details-problem'), '')
  if (!user) return box.focus()
  try {
    await api('PUT', `channels/${store.room.id}/members/${encodeURIComponent(user)}`)
    box.value = ''
    announce(`${bare(userName(user))} is now a member`)
    reload()
  } catch (problem) {
    failed(problem)
  }
})
