-- Users: what is known of a user beyond the id. A user without a row is a human without a display name.

-- +goose Up
CREATE TABLE users (
    id           text        NOT NULL CONSTRAINT users_pkey PRIMARY KEY,
    kind         text        NOT NULL DEFAULT 'human' CONSTRAINT users_kind_known CHECK (kind IN ('human', 'agent')),
    display_name text,
    kind_iat     timestamptz,
    name_iat     timestamptz,
    told_at      timestamptz,
    changed_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN users.kind_iat IS 'when the token was issued by which the authority decided the kind; NULL: it did not decide';
COMMENT ON COLUMN users.name_iat IS 'the same for display_name';
COMMENT ON COLUMN users.told_at IS 'when the authority last changed the row';
COMMENT ON COLUMN users.changed_at IS 'when kind or display_name last changed';
-- Servers look for users who changed, to show their names in events that they have in memory.
CREATE INDEX users_changed ON users (changed_at);

-- The users who are or were in a channel of the guild that is not private. Everybody in the guild may know
-- them. Joining a channel adds the row, and nothing removes it.
CREATE TABLE guild_users (
    guild_id text NOT NULL,
    user_id  text NOT NULL,
    CONSTRAINT guild_users_pkey PRIMARY KEY (guild_id, user_id)
);
CREATE INDEX guild_users_of_user ON guild_users (user_id, guild_id);

-- The roster of a channel in the order of ids, for lists of users.
CREATE INDEX members_by_id ON members (channel_id, user_id) WHERE left_seq IS NULL;

INSERT INTO users (id, kind) SELECT user_id, 'agent' FROM wake_consumers;
INSERT INTO guild_users (guild_id, user_id)
SELECT DISTINCT c.guild_id, m.user_id FROM channels c JOIN members m ON m.channel_id = c.id
WHERE NOT c.private AND c.x_type <> 'dm';

ALTER TABLE messages
    ADD COLUMN reply_to_user_id text,
    ADD COLUMN by_agent boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN messages.reply_to_user_id IS 'the author of the message in reply_to';
COMMENT ON COLUMN messages.by_agent IS 'its author was an agent when it was posted, or it answers a wake';
UPDATE messages SET by_agent = true WHERE wake_id IS NOT NULL;
UPDATE messages m SET reply_to_user_id = r.author_user_id FROM messages r WHERE r.id = m.reply_to;

-- As before, with the two new columns, and the author as the user is now. The LIMIT keeps the look-up of the
-- author: a planner without statistics would read all users.
CREATE OR REPLACE VIEW event_rows AS
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
    END AS gone,
    m.by_agent, m.reply_to_user_id, u.kind AS author_kind, u.display_name AS author_name
FROM events e
JOIN channels c ON c.id = e.channel_id
LEFT JOIN messages m ON m.id = e.message_id
LEFT JOIN LATERAL (SELECT u.kind, u.display_name FROM users u WHERE u.id = m.author_user_id LIMIT 1) u ON true;

-- As before, with the new tables.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION log_begin(clock bigint, seen bigint) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    k      text := log_key();
    newest bigint := (SELECT max(e.epoch) FROM epochs e);
    ended  boolean;
    copied boolean;
    head   bigint;
    top    bigint;
BEGIN
    IF EXISTS (SELECT FROM epochs e WHERE e.key = k AND e.xid::xid = e.xmin) THEN
        RETURN;
    END IF;
    IF (SELECT count(*) FROM pg_constraint c
        JOIN unnest(ARRAY[
            'channels', 'epochs', 'events', 'guild_users', 'log_floor', 'members', 'messages', 'users',
            'wake_lists']) AS t (name)
            ON c.conrelid = to_regclass(t.name) AND c.contype = 'p') < 9 THEN
        RAISE EXCEPTION 'a table has no primary key: finish the restore' USING ERRCODE = 'FG002';
    END IF;
    IF NOT EXISTS (SELECT FROM log_floor) THEN
        RAISE EXCEPTION 'log_floor is empty: finish the restore, or %',
            'INSERT INTO log_floor (seq) SELECT coalesce(min(seq) - 1, 0) FROM events' USING ERRCODE = 'FG002';
    END IF;
    FOR tries IN 1..400 LOOP
        EXIT WHEN log_held() IS NULL;
        IF tries = 400 THEN
            RAISE EXCEPTION 'transactions that appended before this epoch have not ended' USING ERRCODE = '55P03';
        END IF;
        PERFORM pg_sleep(0.005);
    END LOOP;
    UPDATE epochs SET key = epoch || ' ' || key WHERE key = k; -- not written here: a dump brought it back
    ended := (SELECT e.ended FROM epochs e WHERE e.epoch = newest) IS NOT NULL;
    copied := ended OR NOT EXISTS (
        SELECT FROM epochs e
        WHERE e.xid::xid = e.xmin AND substring(e.key, '[^/]*/[^/]*/[^/]*$') = substring(k, '[^/]*/[^/]*/[^/]*$'));
    -- One COPY fills a table, all rows at once. A snapshot without the members would leave their streams
    -- silent.
    IF copied AND (
        EXISTS (SELECT FROM events) AND NOT (EXISTS (SELECT FROM channels) AND EXISTS (SELECT FROM members))
        OR EXISTS (SELECT FROM events WHERE kind = 'message.created') AND NOT EXISTS (SELECT FROM messages)
        OR EXISTS (SELECT FROM channels WHERE wake_version > 0) AND NOT EXISTS (SELECT FROM wake_lists))
    THEN
        RAISE EXCEPTION 'there are events, but no channels, members, messages or wake lists: finish the restore'
            USING ERRCODE = 'FG002';
    END IF;
    IF copied THEN -- events that are missing before the first one may have existed
        UPDATE log_floor SET seq = (SELECT min(e.seq) - 1 FROM events e)
        WHERE seq < (SELECT min(e.seq) - 1 FROM events e);
    END IF;
    head := greatest((SELECT max(e.seq) FROM events e), (SELECT f.seq FROM log_floor f), 0);
    top := head;
    IF copied THEN
        top := greatest(top, 1, (SELECT max(m.edited_seq) FROM messages m),
            (SELECT max(k.scanned_seq) FROM wake_consumers k), (SELECT max(w.last_seq) FROM wakes w),
            (SELECT max(w.last_seq) FROM wakes_dead w), (
            SELECT max(greatest(c.archived_seq,
                (SELECT max(m.seq) FROM messages m WHERE m.channel_id = c.id),
                (SELECT max(i.joined_seq) FROM members i WHERE i.channel_id = c.id),
                (SELECT max(i.left_seq) FROM members i WHERE i.channel_id = c.id AND i.left_seq IS NOT NULL)))
            FROM channels c));
    END IF;
    IF coalesce(pg_sequence_last_value('events_seq'::regclass), 0) < top THEN
        PERFORM setval('events_seq', top);
    END IF;
    INSERT INTO epochs (epoch, key, base, head)
    VALUES (
        greatest(clock, seen + 1,
            (SELECT max(e.epoch) + 1 + (random() * 100000)::bigint FROM epochs e WHERE e.epoch >= clock)),
        k, CASE WHEN ended THEN 0 ELSE head END, head);
END
$$;
-- +goose StatementEnd

DROP FUNCTION post_messages;
-- As before. It also stores and returns the author of the message that a post replies to, and whether an agent
-- writes the post: the author is an agent, or the post answers a wake. And it returns the author's kind and name
-- as they are now. Both are NULL for a user without a row.
-- +goose StatementBegin
CREATE FUNCTION post_messages(
    lock_class integer, listed integer, turns_too boolean, turn text, two_state boolean,
    ids uuid[], channel_ids uuid[], authors text[], contents text[], replies uuid[], mentioned text[], guilds text[],
    admins text[], wake_ids uuid[], keeps boolean[], lease_seconds double precision[])
RETURNS TABLE (
    n integer, epoch bigint, seq bigint, occurred_at timestamptz, guild_id text, name text, x_type text, member_count integer,
    mention_user_ids text[], admin_user_id text, roster text[], wake_list text[], wake jsonb,
    reply_to_user_id text, by_agent boolean, author_kind text, author_name text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    fenced record;
    held integer[] := '{}'; -- places of the posts that must wait
    parts uuid[];           -- of the wakes that are locked
    ended uuid[];           -- ids of those that end
    firsts bigint[];
    uptos bigint[];
    untils timestamptz[];   -- new ends of those that are kept
    wakes_of jsonb[];
BEGIN
    -- What was acknowledged must be on disk, whatever the server's default is. And no statement may be
    -- planned again.
    PERFORM set_config('synchronous_commit', 'on', true), set_config('lock_timeout', '5s', true),
        set_config('plan_cache_mode', 'force_generic_plan', true), set_config('jit', 'off', true);
    IF lock_class IS NOT NULL THEN
        FOR i IN 1 .. cardinality(ids) LOOP
            IF NOT pg_try_advisory_xact_lock_shared(lock_class, hashtext(channel_ids[i]::text)) THEN
                held := held || i;
            END IF;
        END LOOP;
    END IF;
    IF wake_ids IS NOT NULL THEN
        -- The fence comes after the channel's lock and before the number.
        FOR i IN 1 .. cardinality(ids) LOOP
            CONTINUE WHEN wake_ids[i] IS NULL OR i = ANY (held);
            SELECT w.part, w.first_seq, w.last_seq, w.claimed_upto, w.claimed_at, w.stopped_by IS NOT NULL AS stop,
                least(clock_timestamp() + make_interval(secs => lease_seconds[i]), w.claimed_at + interval '1 hour') AS until
            INTO fenced FROM wakes w
            WHERE w.user_id = authors[i] AND w.id = wake_ids[i] AND w.channel_id = channel_ids[i]
                AND (NOT keeps[i] OR w.claimed_at + interval '1 hour' > clock_timestamp())
            FOR UPDATE SKIP LOCKED;
            IF NOT FOUND THEN
                held := held || i;
                CONTINUE;
            END IF;
            parts[i] := fenced.part;
            IF keeps[i] THEN
                untils[i] := fenced.until;
            ELSE
                ended[i] := wake_ids[i];
                firsts[i] := fenced.first_seq;
                uptos[i] := fenced.claimed_upto;
            END IF;
            wakes_of[i] := jsonb_build_object('first', fenced.first_seq, 'upto', fenced.claimed_upto,
                'more', fenced.last_seq > fenced.claimed_upto, 'claimedAt', fenced.claimed_at, 'stop', fenced.stop,
                'until', fenced.until, 'seconds', extract(epoch FROM fenced.until - clock_timestamp()));
        END LOOP;
    END IF;
    RETURN QUERY
    WITH m AS (
        INSERT INTO messages AS m (id, channel_id, seq, author_user_id, content, mention_user_ids, reply_to, created_at,
            wake_version, turn_user_id, admin_user_id, two_state, wake_id, wake_first, wake_upto,
            reply_to_user_id, by_agent)
        SELECT p.id, c.id, draw_seq(), p.author, contents[i],
            CASE WHEN mentioned[i] IS NULL THEN '{}' ELSE at_list(c.id, p.author, mentioned[i]) END,
            replies[i], clock_timestamp(), c.wake_version, post_messages.turn, CASE c.x_type WHEN 'triage' THEN admins[i] END,
            post_messages.two_state, ended[i], firsts[i], uptos[i],
            CASE WHEN replies[i] IS NOT NULL THEN (SELECT r.author_user_id FROM messages r WHERE r.id = replies[i]) END,
            wake_ids[i] IS NOT NULL OR coalesce((SELECT u.kind = 'agent' FROM users u WHERE u.id = p.author), false)
        FROM unnest(ids, authors) WITH ORDINALITY AS p (id, author, i) CROSS JOIN LATERAL (
            SELECT c.id, c.guild_id, c.x_type, c.history, c.wake_version
            FROM channels c WHERE c.id = channel_ids[i] AND c.archived_seq IS NULL LIMIT 1) c
        WHERE i <> ALL (held)
            AND (turns_too OR c.x_type NOT IN ('discuss', 'work'))
            AND (guilds[i] IS NULL OR c.guild_id = ANY (string_to_array(guilds[i], ',')))
            AND (SELECT true FROM members a WHERE a.channel_id = c.id AND a.user_id = p.author AND a.left_seq IS NULL)
            AND (replies[i] IS NULL OR readable(replies[i], c.id, c.history, p.author))
        RETURNING m.id, m.channel_id, m.seq, m.author_user_id, m.created_at, m.mention_user_ids, m.admin_user_id, m.wake_version,
            m.reply_to_user_id, m.by_agent
    ), e AS (
        INSERT INTO events (seq, kind, channel_id, user_id, message_id, admin_user_id, occurred_at)
        SELECT m.seq, 'message.created', m.channel_id, m.author_user_id, m.id, m.admin_user_id, m.created_at FROM m
    )
    SELECT array_position(ids, m.id), log_epoch(), m.seq, m.created_at, c.guild_id, c.name, c.x_type, c.member_count,
        m.mention_user_ids, m.admin_user_id,
        CASE WHEN c.x_type = 'dm' OR c.x_type = 'general' AND m.mention_user_ids = '{}' THEN
            ARRAY(SELECT r.user_id FROM members r WHERE r.channel_id = c.id AND r.left_seq IS NULL
                ORDER BY r.joined_seq, r.position LIMIT listed) END,
        CASE WHEN m.wake_version > 0 THEN wakeable(c.id, m.wake_version) END,
        wakes_of[array_position(ids, m.id)], m.reply_to_user_id, m.by_agent, u.kind, u.display_name
    FROM m CROSS JOIN LATERAL (
        SELECT c.id, c.guild_id, c.name, c.x_type, c.member_count FROM channels c WHERE c.id = m.channel_id LIMIT 1) c
    LEFT JOIN LATERAL (SELECT u.kind, u.display_name FROM users u WHERE u.id = m.author_user_id LIMIT 1) u ON true;
    IF wake_ids IS NOT NULL THEN
        -- A refused post ends nothing. Nothing below waits: the rows are locked.
        FOR i IN 1 .. cardinality(ids) LOOP
            CONTINUE WHEN parts[i] IS NULL OR NOT EXISTS (SELECT FROM messages m WHERE m.id = ids[i]);
            IF untils[i] IS NULL THEN
                PERFORM finish_wake(authors[i], channel_ids[i], parts[i]);
            ELSE
                UPDATE wakes w SET lease_until = untils[i]
                WHERE w.user_id = authors[i] AND w.channel_id = channel_ids[i] AND w.part = parts[i];
            END IF;
        END LOOP;
    END IF;
    IF held <> '{}' THEN
        RETURN QUERY SELECT i, NULL::bigint, NULL::bigint, NULL::timestamptz, NULL, NULL, NULL, NULL::integer,
            NULL::text[], NULL, NULL::text[], NULL::text[], NULL::jsonb, NULL, NULL::boolean, NULL, NULL
        FROM unnest(held) AS i;
    END IF;
END
$$;
-- +goose StatementEnd
