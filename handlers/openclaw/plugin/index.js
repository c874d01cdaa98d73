// The entry: declares the channel to OpenClaw, reads its configuration, and starts and stops the claim loop.
import { createChatChannelPlugin, defineChannelPluginEntry } from 'openclaw/plugin-sdk/channel-core'
import {
  createMessageReceiptFromOutboundResults,
  defineChannelMessageAdapter,
} from 'openclaw/plugin-sdk/channel-outbound'
import { connect } from './api.js'
import { directory } from './directory.js'
import { worker } from './run.js'
import { poster, sender } from './send.js'
import { Holds, serve } from './wakes.js'

const id = 'fabric'
const accountId = 'default'
let rt // OpenClaw's runtime
let holds = new Holds() // of the running claim loop; there is none in a process of the command line
holds.caughtUp()

/** The account of a configuration: the block `channels.fabric`. */
function resolveAccount(cfg) {
  const section = cfg.channels?.fabric ?? {}
  const configured = Boolean(section.url && (section.token || section.tokenFile))
  return { accountId, enabled: section.enabled !== false, configured, concurrency: 4, ...section }
}

const describe = (account) => ({
  accountId,
  enabled: account.enabled,
  configured: account.configured,
  baseUrl: account.url,
  tokenStatus: account.token || account.tokenFile ? 'available' : 'missing',
})

function receipt(messages, to) {
  const results = messages.map((message) => ({ channel: id, messageId: message.id, conversationId: to }))
  const made = createMessageReceiptFromOutboundResults({ results, kind: 'text' })
  return { messageId: messages[0]?.id ?? '', receipt: made }
}

async function startAccount({ account, abortSignal: signal, log, getStatus, setStatus }) {
  const api = connect(account)
  const status = (patch) => setStatus({ ...getStatus(), running: true, ...patch })
  holds = new Holds()
  await serve({
    api,
    holds,
    signal,
    log,
    concurrency: account.concurrency,
    async start() {
      const { userId: me } = await api.call('GET', '/api/me')
      const work = worker({ rt, api, post: poster({ api, holds }), me, accountId, log })
      return (hold) => {
        status({ lastInboundAt: Date.now() })
        return work(hold)
      }
    },
    report: ({ connected, lastError }) => {
      if (lastError && lastError !== getStatus().lastError) log?.warn?.(lastError)
      status({ connected, lastError, lifecycle: connected ? 'ready' : 'recovering' })
    },
  })
}

function send(ctx) {
  const api = connect(resolveAccount(ctx.cfg))
  const { channelOf } = directory(api)
  return sender({ api, post: poster({ api, holds }), holds, channelOf, receipt, log: console })(ctx)
}

const lookup = (name) => (params) => directory(connect(resolveAccount(params.cfg)))[name](params)

const plugin = createChatChannelPlugin({
  base: {
    id,
    meta: { id, label: 'Fabric', selectionLabel: 'Fabric Guild', docsPath: '/channels/fabric', blurb: '' },
    capabilities: { chatTypes: ['direct', 'group'], reply: true, media: false, blockStreaming: false },
    reload: { configPrefixes: ['channels.fabric'] },
    config: {
      listAccountIds: () => [accountId],
      resolveAccount,
      inspectAccount: (cfg) => describe(resolveAccount(cfg)),
      isEnabled: (account) => account.enabled,
      isConfigured: (account) => account.configured,
      describeAccount: describe,
    },
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
        looksLikeId: (raw) => /^(fabric:)?([0-9a-f]{8}-[0-9a-f-]{27}|(user:|@).+|#.+)$/i.test(raw.trim()),
        hint: '<channel id>, #channel or user:<user id>',
      },
    },
    directory: {
      self: lookup('self'),
      listPeersLive: lookup('peers'),
      listGroupsLive: lookup('groups'),
      listGroupMembers: lookup('members'),
    },
    agentPrompt: {
      messageToolHints: () => ['Write <@USER_ID> to mention a member. Mention only those who must act.'],
    },
    status: {
      collectStatusIssues: (accounts) =>
        accounts
          .filter(({ lastError }) => lastError)
          .map(({ lastError }) => ({ channel: id, accountId, kind: 'runtime', message: lastError })), // the server's words
      probeAccount: ({ account, timeoutMs }) => connect(account).call('GET', '/api/me', undefined, { timeoutMs }),
    },
    gateway: { startAccount },
  },
  security: {
    dm: { channelKey: id, resolvePolicy: () => 'open', resolveAllowFrom: () => ['*'], defaultPolicy: 'open' },
  },
  threading: { topLevelReplyToMode: 'reply' },
})

export default defineChannelPluginEntry({
  id,
  name: 'Fabric',
  description: 'OpenClaw channel for a Fabric Guild server',
  plugin,
  setRuntime: (runtime) => {
    rt = runtime
  },
})
