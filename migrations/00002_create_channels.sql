-- Channels, their members as intervals of the event log, messages, and the functions that store and read
-- them.

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
    -- The two members of a dm in byte order, with a space between (no id contains one): one dm per pair and
    -- guild.
    dm_pair      text,
    wake_version integer     NOT NULL DEFAULT 0,
    turn_user_id text,
    turn_paused  boolean     NOT NULL DEFAULT false,
    CONSTRAINT channels_archived_whole CHECK ((archived_at IS NULL) = (archived_seq IS NULL)),
    CONSTRAINT channels_dm_whole CHECK ((x_type = 'dm') = (dm_pair IS NOT NULL))
);
COMMENT ON COLUMN channels.wake_version IS 'the version of its wake list; 0: no list yet';
COMMENT ON COLUMN channels.turn_user_id IS 'discuss, work: whose turn it is; NULL: no member is left';
CREATE UNIQUE INDEX channels_dm_unique ON channels (guild_id, dm_pair) WHERE dm_pair IS NOT NULL;
CREATE INDEX channels_joinable ON channels (guild_id, id) WHERE NOT private AND x_type <> 'dm';

-- A row is one interval of membership. The member hears the events in [joined_seq, left_seq), and the event
-- at left_seq, which is the leave. position orders the members who joined with one event. Intervals stay
-- forever, because history is decided by them.
--
-- The intervals of one user and channel never overlap. So the only one that can hold a number is the last one
-- that begins at or below it: one entry of members_pkey, however often the user left and came back.
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
-- The order of these indexes matters. Without statistics, the planner finds one member as cheap in any index
-- of current members, and takes the index that was created last. With members_present it would read the whole
-- roster. So members_once must stay the last.
--
-- The roster as it was, for the members that an event names.
CREATE INDEX members_roster ON members (channel_id, joined_seq, position);
-- The roster as it is, for each post.
CREATE INDEX members_present ON members (channel_id, joined_seq, position) WHERE left_seq IS NULL;
-- Intervals that ended long ago must not be read each time that their user connects.
CREATE INDEX members_of_user ON members (user_id, left_seq);
-- Each event whose message was edited later asks who left in between.
CREATE INDEX members_left ON members (channel_id, left_seq) WHERE left_seq IS NOT NULL;
-- A user's current memberships are read in pages, by channel. The same order finds one member of a channel.
CREATE UNIQUE INDEX members_once ON members (user_id, channel_id) WHERE left_seq IS NULL;

-- A wake list never changes. A new list has a new version, and a message keeps the version that decided it.
CREATE TABLE wake_lists (
    channel_id uuid    NOT NULL CONSTRAINT wake_lists_channel_fkey REFERENCES channels (id),
    version    integer NOT NULL,
    user_ids   text[]  NOT NULL,
    CONSTRAINT wake_lists_pkey PRIMARY KEY (channel_id, version)
);

-- seq is the number of the message's event. History is ordered by it. There are no foreign keys, for the same
-- reason as in events.
--
-- mention_user_ids, wake_version, turn_user_id, admin_user_id and two_state decide the message's delivery, as
-- of its post: for its first event, for the events of its edits, and for every replay of them.
CREATE TABLE messages (
    id               uuid        NOT NULL CONSTRAINT messages_pkey PRIMARY KEY,
    channel_id       uuid        NOT NULL,
    seq              bigint      NOT NULL,
    author_user_id   text        NOT NULL,
    content          text        NOT NULL,
    mention_user_ids text[]      NOT NULL,
    reply_to         uuid,
    created_at       timestamptz NOT NULL,
    wake_version     integer     NOT NULL DEFAULT 0,
    turn_user_id     text,
    admin_user_id    text,
    two_state        boolean     NOT NULL DEFAULT false,
    edited_at        timestamptz,
    edited_seq       bigint,
    deleted_at       timestamptz,
    wake_id          uuid,
    wake_first       bigint,
    wake_upto        bigint
);
COMMENT ON COLUMN messages.content IS 'the current text; empty once the message is deleted';
COMMENT ON COLUMN messages.mention_user_ids IS 'the at-list as of the post; it never changes, because it decides delivery';
COMMENT ON COLUMN messages.wake_version IS 'triage, custom: the wake list that decides; 0: none';
COMMENT ON COLUMN messages.turn_user_id IS 'discuss, work: whose turn it is after the message; NULL: the message wakes nobody';
COMMENT ON COLUMN messages.admin_user_id IS 'triage: the admin';
COMMENT ON COLUMN messages.two_state IS 'the older delivery rule decided the message';
COMMENT ON COLUMN messages.edited_seq IS 'the number of its latest edit, or of its deletion';
COMMENT ON COLUMN messages.wake_id IS 'the wake that this reply ended; a wake has one reply';
COMMENT ON COLUMN messages.wake_first IS 'with wake_upto: the range of messages that this reply answered';
CREATE UNIQUE INDEX messages_history ON messages (channel_id, seq);
-- log_begin reads the greatest number of an edit.
CREATE INDEX messages_edited ON messages (edited_seq) WHERE edited_seq IS NOT NULL;
CREATE UNIQUE INDEX messages_wake_unique ON messages (wake_id) WHERE wake_id IS NOT NULL;

-- The answer to a request that carried an Idempotency-Key, for a request that repeats the key.
CREATE TABLE idempotency_keys (
    user_id    text        NOT NULL,
    route      text        NOT NULL,
    key        text        NOT NULL,
    body_hash  bytea       NOT NULL,
    status     integer     NOT NULL,
    answer     bytea       NOT NULL,
    message_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (user_id, route, key)
);
COMMENT ON COLUMN idempotency_keys.message_id IS 'the message in the answer: an edit or a deletion changes the answer too';
CREATE INDEX idempotency_keys_of_message ON idempotency_keys (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- An event with the rows that it refers to. Both readers of the event log select from this view. The text of
-- a message is the current one: the event log refers to it and does not copy it. The name of a channel is the
-- name as of the event: a user who left before a rename must not see the new name.
CREATE VIEW event_rows AS
SELECT e.seq, e.kind, e.user_id, e.occurred_at, e.channel_id, c.guild_id,
    coalesce((
        SELECT n.old_name FROM events n
        WHERE n.channel_id = e.channel_id AND n.seq > e.seq AND n.old_name IS NOT NULL
        ORDER BY n.seq LIMIT 1), c.name) AS name,
    c.x_type, e.reason,
    CASE WHEN e.kind = 'channel.created' THEN ARRAY(
        SELECT f.user_id FROM members f
        WHERE f.channel_id = e.channel_id AND f.joined_seq = e.seq ORDER BY f.position)
    END AS joined,
    e.message_id, m.seq AS message_seq, m.author_user_id, m.content, m.mention_user_ids, m.reply_to, m.created_at,
    m.edited_at, m.edited_seq, m.deleted_at,
    m.turn_user_id, m.admin_user_id, coalesce(m.two_state, false) AS two_state, coalesce(m.wake_version, 0) AS wake_version,
    e.admin_user_id AS heard_by_admin,
    -- Users who left between the event and the latest change of the text must not get the change.
    CASE WHEN m.edited_seq > e.seq THEN ARRAY(
        SELECT g.user_id FROM members g
        WHERE g.channel_id = e.channel_id AND g.left_seq > e.seq AND g.left_seq < m.edited_seq)
    END AS gone
FROM events e
JOIN channels c ON c.id = e.channel_id
LEFT JOIN messages m ON m.id = e.message_id;

-- The next three functions are separate from post_messages, because a statement pays for every sub-select in
-- it, even for those that it does not run.

-- at_list returns the mentioned users (ids with commas between) who are members of the channel, without the
-- author.
-- +goose StatementBegin
CREATE FUNCTION at_list(channel uuid, author text, mentioned text) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN ARRAY(
        SELECT u.id FROM unnest(string_to_array(mentioned, ',')) WITH ORDINALITY AS u (id, position)
        WHERE u.id <> author
            AND (SELECT true FROM members a WHERE a.channel_id = channel AND a.user_id = u.id AND a.left_seq IS NULL)
        ORDER BY u.position);
END
$$;
-- +goose StatementEnd

-- wakeable returns the users on a channel's wake list who are members, in the order of the list.
-- +goose StatementBegin
CREATE FUNCTION wakeable(channel uuid, list integer) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN ARRAY(
        SELECT u.id FROM wake_lists w, unnest(w.user_ids) WITH ORDINALITY AS u (id, position)
        WHERE w.channel_id = channel AND w.version = list
            AND (SELECT true FROM members r WHERE r.channel_id = channel AND r.user_id = u.id AND r.left_seq IS NULL)
        ORDER BY u.position);
END
$$;
-- +goose StatementEnd

-- readable reports whether a message is in a channel, at a place where the reader may read it. Posts call it
-- inside the group that all posts share, so it reads only one interval.
-- +goose StatementBegin
CREATE FUNCTION readable(message uuid, channel uuid, history text, reader text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM messages r
        WHERE r.id = message AND r.channel_id = channel AND (history = 'all' OR (
            SELECT i.left_seq IS NULL OR r.seq < i.left_seq FROM members i
            WHERE i.channel_id = channel AND i.user_id = reader AND i.joined_seq <= r.seq
            ORDER BY i.joined_seq DESC LIMIT 1)));
END
$$;
-- +goose StatementEnd

-- post_messages stores messages with their events, one row each, however large the channel is. It returns one
-- row for each message, in any order. It is a function because it must take the channels' locks in a
-- statement before the one that reads the rosters, without a round trip between the two.
--
-- The n-th message consists of the n-th elements. mentioned and guilds are ids with commas between. guilds
-- are the guilds that the author's token allows; NULL means all. turn and two_state apply to every message.
--
-- A post without a row is refused. Its channel does not exist, is archived, does not have the author as a
-- member, or (unless turns_too) is one in which members take turns. Or the message that it replies to is not
-- readable.
--
-- A post whose row has no number is not stored either: the shared side of its channel's lock, of class
-- lock_class, was not free. post_messages never waits for a channel lock, because another transaction may
-- hold it for long. If lock_class is NULL, the transaction holds the channels' locks already. (A try would
-- fail where others wait.)
--
-- Scalar sub-selects look up single members, and a LIMIT looks up channels. As joins, a planner without
-- statistics would read whole tables instead. The planner estimates as many rows from an unnest as come. What
-- it estimates for large rosters would make it compile the statement (jit), which costs a hundred times more
-- than running it.
-- +goose StatementBegin
CREATE FUNCTION post_messages(
    lock_class integer, listed integer, turns_too boolean, turn text, two_state boolean,
    ids uuid[], channel_ids uuid[], authors text[], contents text[], replies uuid[], mentioned text[], guilds text[],
    admins text[])
RETURNS TABLE (
    n integer, epoch bigint, seq bigint, occurred_at timestamptz, guild_id text, name text, x_type text, member_count integer,
    mention_user_ids text[], admin_user_id text, roster text[], wake_list text[])
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    channel uuid;
    held uuid[] := '{}';
BEGIN
    -- What was acknowledged must be on disk, whatever the server's default is. And no statement may be
    -- planned again.
    PERFORM set_config('synchronous_commit', 'on', true), set_config('lock_timeout', '5s', true),
        set_config('plan_cache_mode', 'force_generic_plan', true), set_config('jit', 'off', true);
    IF lock_class IS NOT NULL THEN
        FOREACH channel IN ARRAY channel_ids LOOP
            IF NOT pg_try_advisory_xact_lock_shared(lock_class, hashtext(channel::text)) THEN
                held := held || channel;
            END IF;
        END LOOP;
    END IF;
    RETURN QUERY
    WITH m AS (
        INSERT INTO messages AS m (id, channel_id, seq, author_user_id, content, mention_user_ids, reply_to, created_at,
            wake_version, turn_user_id, admin_user_id, two_state)
        SELECT p.id, c.id, draw_seq(), p.author, contents[i],
            CASE WHEN mentioned[i] IS NULL THEN '{}' ELSE at_list(c.id, p.author, mentioned[i]) END,
            replies[i], clock_timestamp(), c.wake_version, post_messages.turn, CASE c.x_type WHEN 'triage' THEN admins[i] END, post_messages.two_state
        FROM unnest(ids, authors) WITH ORDINALITY AS p (id, author, i) CROSS JOIN LATERAL (
            SELECT c.id, c.guild_id, c.x_type, c.history, c.wake_version
            FROM channels c WHERE c.id = channel_ids[i] AND c.archived_seq IS NULL LIMIT 1) c
        WHERE c.id <> ALL (held)
            AND (turns_too OR c.x_type NOT IN ('discuss', 'work'))
            AND (guilds[i] IS NULL OR c.guild_id = ANY (string_to_array(guilds[i], ',')))
            AND (SELECT true FROM members a WHERE a.channel_id = c.id AND a.user_id = p.author AND a.left_seq IS NULL)
            AND (replies[i] IS NULL OR readable(replies[i], c.id, c.history, p.author))
        RETURNING m.id, m.channel_id, m.seq, m.author_user_id, m.created_at, m.mention_user_ids, m.admin_user_id, m.wake_version
    ), e AS (
        INSERT INTO events (seq, kind, channel_id, user_id, message_id, admin_user_id, occurred_at)
        SELECT m.seq, 'message.created', m.channel_id, m.author_user_id, m.id, m.admin_user_id, m.created_at FROM m
    )
    SELECT array_position(ids, m.id), log_epoch(), m.seq, m.created_at, c.guild_id, c.name, c.x_type, c.member_count,
        m.mention_user_ids, m.admin_user_id,
        CASE WHEN c.x_type = 'dm' OR c.x_type = 'general' AND m.mention_user_ids = '{}' THEN
            ARRAY(SELECT r.user_id FROM members r WHERE r.channel_id = c.id AND r.left_seq IS NULL
                ORDER BY r.joined_seq, r.position LIMIT listed) END,
        CASE WHEN m.wake_version > 0 THEN wakeable(c.id, m.wake_version) END
    FROM m CROSS JOIN LATERAL (
        SELECT c.id, c.guild_id, c.name, c.x_type, c.member_count FROM channels c WHERE c.id = m.channel_id LIMIT 1) c;
    IF held <> '{}' THEN
        RETURN QUERY SELECT i, NULL::bigint, NULL::bigint, NULL::timestamptz, NULL, NULL, NULL, NULL::integer,
            NULL::text[], NULL, NULL::text[], NULL::text[]
        FROM generate_subscripts(ids, 1) AS i WHERE channel_ids[i] = ANY (held);
    END IF;
END
$$;
-- +goose StatementEnd

-- history_of returns the newest messages of a channel, between two numbers (both excluded), that were posted
-- while reader was a member. It alternates between the two indexes: the next message says which interval can
-- hold it, and an interval without that message says where to look for the next message. So it reads neither
-- a run of messages that are not for the reader nor a run of intervals without messages.
-- +goose StatementBegin
CREATE FUNCTION history_of(channel uuid, reader text, after_seq bigint, before_seq bigint, most bigint)
RETURNS SETOF uuid LANGUAGE plpgsql STABLE AS $$
DECLARE
    newest bigint;
    joined bigint;
    ended bigint;
    found_rows bigint;
BEGIN
    WHILE most > 0 LOOP
        SELECT m.seq INTO newest FROM messages m
        WHERE m.channel_id = channel AND m.seq > after_seq AND m.seq < before_seq
        ORDER BY m.seq DESC LIMIT 1;
        EXIT WHEN NOT FOUND;
        SELECT i.joined_seq, i.left_seq INTO joined, ended FROM members i
        WHERE i.channel_id = channel AND i.user_id = reader AND i.joined_seq <= newest
        ORDER BY i.joined_seq DESC LIMIT 1;
        EXIT WHEN NOT FOUND;
        IF ended <= newest THEN
            before_seq := ended;
        ELSE
            RETURN QUERY
            SELECT m.id FROM messages m
            WHERE m.channel_id = channel AND m.seq > after_seq AND m.seq >= joined AND m.seq <= newest
            ORDER BY m.seq DESC LIMIT most;
            GET DIAGNOSTICS found_rows = ROW_COUNT;
            most := most - found_rows;
            before_seq := joined;
        END IF;
    END LOOP;
END
$$;
-- +goose StatementEnd
