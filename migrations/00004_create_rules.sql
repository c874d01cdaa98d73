-- Who is woken: wake lists, turns, and what an event records for the decision. Edits and deletes of
-- messages, and the keys of repeated requests.

-- +goose Up

-- A wake list never changes: a new one has a new version, and events keep the version they were decided by.
CREATE TABLE wake_lists (
    channel_id uuid    NOT NULL CONSTRAINT wake_lists_channel_fkey REFERENCES channels (id),
    version    integer NOT NULL,
    user_ids   text[]  NOT NULL,
    CONSTRAINT wake_lists_pkey PRIMARY KEY (channel_id, version)
);

ALTER TABLE channels
    ADD COLUMN wake_version integer NOT NULL DEFAULT 0, -- 0: no list yet
    ADD COLUMN turn_user_id text,                       -- discuss, work: whose turn it is; NULL: nobody is left
    ADD COLUMN turn_paused  boolean NOT NULL DEFAULT false;

ALTER TABLE events
    ADD COLUMN reason        text,
    ADD COLUMN admin_user_id text;
COMMENT ON COLUMN events.reason IS 'turn.changed: what changed it';
COMMENT ON COLUMN events.admin_user_id IS 'messages in triage: who hears it as the admin, member or not';
CREATE INDEX events_of_admin ON events (admin_user_id, seq) WHERE admin_user_id IS NOT NULL;

-- What a message's delivery is decided by, as of its post: for its first event, for those of its edits, and
-- for every replay of them.
ALTER TABLE messages
    ADD COLUMN wake_version  integer NOT NULL DEFAULT 0,
    ADD COLUMN turn_user_id  text,
    ADD COLUMN admin_user_id text,
    ADD COLUMN two_state     boolean NOT NULL DEFAULT false,
    ADD COLUMN edited_at     timestamptz,
    ADD COLUMN edited_seq    bigint,
    ADD COLUMN deleted_at    timestamptz;
COMMENT ON COLUMN messages.wake_version IS 'triage, custom: the wake list that decides; 0: none';
COMMENT ON COLUMN messages.turn_user_id IS 'discuss, work: whose turn it is after it; NULL: nobody wakes';
COMMENT ON COLUMN messages.admin_user_id IS 'triage: the admin';
COMMENT ON COLUMN messages.two_state IS 'decided by the older rule';
COMMENT ON COLUMN messages.edited_seq IS 'its latest edit, or its deletion';
COMMENT ON COLUMN messages.content IS 'as it is now; empty once it is deleted';

-- The answer to a request that carried an Idempotency-Key, for when it comes again.
CREATE TABLE idempotency_keys (
    user_id    text        NOT NULL,
    route      text        NOT NULL,
    key        text        NOT NULL,
    body_hash  bytea       NOT NULL,
    status     integer     NOT NULL,
    answer     bytea       NOT NULL,
    message_id uuid, -- that the answer tells of: it is not to outlive the message's text
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (user_id, route, key)
);
CREATE INDEX idempotency_keys_of_message ON idempotency_keys (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

DROP VIEW event_rows;
-- An event with what it refers to, as both readers of the log select it. The names of a channel and the
-- text of a message are as they are now: the log refers to them, it does not copy them.
CREATE VIEW event_rows AS
SELECT e.seq, e.kind, e.user_id, e.occurred_at, e.channel_id, c.guild_id, c.name, c.x_type, e.reason,
    CASE WHEN e.kind = 'channel.created' THEN ARRAY(
        SELECT f.user_id FROM members f
        WHERE f.channel_id = e.channel_id AND f.joined_seq = e.seq ORDER BY f.position)
    END AS joined,
    e.message_id, m.seq AS message_seq, m.author_user_id, m.content, m.mention_user_ids, m.reply_to, m.created_at,
    m.edited_at, m.edited_seq, m.deleted_at,
    m.turn_user_id, m.admin_user_id, coalesce(m.two_state, false) AS two_state, coalesce(m.wake_version, 0) AS wake_version,
    e.admin_user_id AS heard_by_admin,
    -- Who left between the event and the text's latest change: the change is not for them.
    CASE WHEN m.edited_seq > e.seq THEN ARRAY(
        SELECT g.user_id FROM members g
        WHERE g.channel_id = e.channel_id AND g.left_seq > e.seq AND g.left_seq < m.edited_seq)
    END AS gone
FROM events e
JOIN channels c ON c.id = e.channel_id
LEFT JOIN messages m ON m.id = e.message_id;
