-- Channels, their members as intervals over the log, and messages.

-- +goose Up

CREATE TABLE channels (
    id           uuid        NOT NULL CONSTRAINT channels_pkey PRIMARY KEY,
    guild_id     text        NOT NULL,
    name         text        NOT NULL,
    x_type       text        NOT NULL CONSTRAINT channels_x_type_known
                             CHECK (x_type IN ('general', 'report', 'triage', 'custom', 'dm', 'discuss', 'work')),
    private      boolean     NOT NULL,
    history      text        NOT NULL CONSTRAINT channels_history_known CHECK (history IN ('joined', 'all')),
    created_by   text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    archived_at  timestamptz,
    archived_seq bigint,
    member_count integer     NOT NULL,
    -- The two members of a dm in byte order with a blank between (no id holds one): one dm per pair and guild.
    dm_pair      text,
    CONSTRAINT channels_archived_whole CHECK ((archived_at IS NULL) = (archived_seq IS NULL)),
    CONSTRAINT channels_dm_whole CHECK ((x_type = 'dm') = (dm_pair IS NOT NULL))
);
CREATE UNIQUE INDEX channels_dm_unique ON channels (guild_id, dm_pair) WHERE dm_pair IS NOT NULL;
CREATE INDEX channels_joinable ON channels (guild_id, id) WHERE NOT private AND x_type <> 'dm';

-- A member hears what lies in [joined_seq, left_seq); the event at left_seq tells of the leave.
-- position orders those who joined with one event.
CREATE TABLE members (
    channel_id uuid        NOT NULL CONSTRAINT members_channel_fkey REFERENCES channels (id),
    user_id    text        NOT NULL,
    joined_seq bigint      NOT NULL,
    position   integer     NOT NULL,
    joined_at  timestamptz NOT NULL,
    left_seq   bigint,
    CONSTRAINT members_pkey PRIMARY KEY (channel_id, user_id, joined_seq),
    CONSTRAINT members_interval CHECK (left_seq > joined_seq)
);
CREATE UNIQUE INDEX members_once ON members (channel_id, user_id) WHERE left_seq IS NULL;
-- The roster as it was, for what an event told; and as it is, for the many who post.
CREATE INDEX members_roster ON members (channel_id, joined_seq, position);
CREATE INDEX members_present ON members (channel_id, joined_seq, position) WHERE left_seq IS NULL;
CREATE INDEX members_of_user ON members (user_id, channel_id);

-- seq is the number of the message's event: history goes by it. Without foreign keys, for the reason
-- that stands beside the log.
CREATE TABLE messages (
    id               uuid        NOT NULL CONSTRAINT messages_pkey PRIMARY KEY,
    channel_id       uuid        NOT NULL,
    seq              bigint      NOT NULL,
    author_user_id   text        NOT NULL,
    content          text        NOT NULL,
    mention_user_ids text[]      NOT NULL,
    reply_to         uuid,
    created_at       timestamptz NOT NULL
);
COMMENT ON COLUMN messages.mention_user_ids IS 'the at-list as of the post; it never changes, since delivery is decided by it';
CREATE UNIQUE INDEX messages_history ON messages (channel_id, seq);
