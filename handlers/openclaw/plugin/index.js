// The entry: declares the channel to OpenClaw, reads its configuration, and starts and stops the claim loop.
import { defineChannelPluginEntry } from 'openclaw/plugin-sdk/channel-core'
import {
  createMessageReceiptFromOutboundResults,
  defineChannelMessageAdapter,
} from 'openclaw/plugin-sdk/channel-outbound'
import { collectStatusIssuesFromLastError } from 'openclaw/plugin-sdk/channel-status'
import { connect } from './api.js'
import { accountId, channel as id } from './context.js'
import { directory } from './directory.js'
import { worker } from './run.js'
import { poster, sender } from './send.js'
import { Holds, serve } from './wakes.js'

let rt // OpenClaw's runtime
let holds = new Holds() // of the running claim loop; there is none in a process of the command line
holds.caughtUp()

/** The account of a configuration: the block `channels.fabric`. */
function resolveAccount(cfg) {
  const section = cfg.channels?.fabric ?? {}
  const configured = Boolean(section.url && (section.token || section.tokenFile))
  return { accountId, enabled: true, configured, concurrency: 4, baseUrl: section.url, ...section }
}

function receipt(to, ...messages) {
  const results = messages.map((message) => ({ channel: id, messageId: message.id, conversationId: to }))
  const made = createMessageReceiptFromOutboundResults({ results, kind: 'text' })
  return { messageId: messages[0]?.id ?? '', receipt: made }
}

async function startAccount({ account, abortSignal: signal, log, getStatus, setStatus }) {
  const api = connect(account)
  const { concurrency } = account
  holds = new Holds()
  const post = poster({ api, holds })
  const start = async () => worker({ rt, api, post, me: (await api.call('GET', '/api/me')).userId, log, signal })
  const report = (status) => {
    const { connected, lastError } = status
    if (lastError && lastError !== getStatus().lastError) log?.warn?.(lastError)
    setStatus({ ...getStatus(), ...status, running: true, lifecycle: connected ? 'ready' : 'recovering' })
  }
  await serve({ api, holds, start, concurrency, signal, report, log })
}

function send(ctx) {
  const api = connect(resolveAccount(ctx.cfg))
  const { channelOf } = directory(api)
  return sender({ api, post: poster({ api, holds }), holds, channelOf, receipt, log: console })(ctx)
}

const lookup = (name) => (params) => directory(connect(resolveAccount(params.cfg)))[name](params)

const plugin = {
  id,
  meta: { id, label: 'Fabric', selectionLabel: 'Fabric Guild', docsPath: '/channels/fabric', blurb: '' },
  capabilities: { chatTypes: ['direct', 'group'], reply: true, media: false, blockStreaming: false },
  reload: { configPrefixes: ['channels.fabric'] },
  config: {
    listAccountIds: () => [accountId],
    resolveAccount,
    isConfigured: ({ configured }) => configured,
    describeAccount: ({ enabled, configured, baseUrl }) => ({ accountId, enabled, configured, baseUrl }), // no token
  },
  gateway: { startAccount },
  message: defineChannelMessageAdapter({
    id,
    durableFinal: {
      capabilities: { text: true, replyTo: true, messageSendingHooks: true, reconcileUnknownSend: true },
      // The idempotency key makes a second attempt safe, so a send of unknown outcome is simply sent again.
      automaticUnknownSendReconciliation: true,
      reconcileUnknownSendKinds: { text: true },
      reconcileUnknownSend: () => ({ status: 'not_sent' }),
    },
    send: { text: send },
  }),
  messaging: {
    targetPrefixes: [id],
    normalizeTarget: (raw) => raw.trim().replace(/^fabric:/, ''),
    inferTargetChatType: ({ to }) => (/^(fabric:)?(user:|@)/.test(to) ? 'direct' : 'group'),
    targetResolver: {
      looksLikeId: (raw) => /^(fabric:)?([0-9a-f]{8}-[0-9a-f-]{27}|(user:|@|#).+)$/i.test(raw.trim()),
      hint: '<channel id>, #channel or user:<user id>',
    },
  },
  directory: { self: lookup('self'), listPeersLive: lookup('peers'), listGroupsLive: lookup('groups') },
  agentPrompt: { messageToolHints: () => ['Write <@USER_ID> to mention a member. Mention only those who must act.'] },
  status: {
    collectStatusIssues: (accounts) => collectStatusIssuesFromLastError(id, accounts),
    probeAccount: ({ account, timeoutMs }) => connect(account).call('GET', '/api/me', undefined, { timeoutMs }),
  },
  threading: { resolveReplyToMode: () => 'off' }, // the plugin names what it replies to
}

const description = 'OpenClaw channel for a Fabric Guild server'
const setRuntime = (runtime) => {
  rt = runtime
}
export default defineChannelPluginEntry({ id, name: 'Fabric', description, plugin, setRuntime })
