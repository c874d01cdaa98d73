-- Users, what limits whom a message wakes, and replies that end their wakes.

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

ALTER TABLE channels
    ADD COLUMN loop_limit integer NOT NULL DEFAULT 20 CONSTRAINT channels_loop_limit_known CHECK (loop_limit BETWEEN 0 AND 200),
    ADD COLUMN human_wakes text NOT NULL DEFAULT 'all'
        CONSTRAINT channels_human_wakes_known CHECK (human_wakes IN ('all', 'mentions')),
    ADD COLUMN agent_wakes text NOT NULL DEFAULT 'all'
        CONSTRAINT channels_agent_wakes_known CHECK (agent_wakes IN ('all', 'mentions', 'none')),
    ADD COLUMN go_at timestamptz;
COMMENT ON COLUMN channels.loop_limit IS 'how many messages of agents in a row may wake; 0: any number';
COMMENT ON COLUMN channels.human_wakes IS 'an upper bound on whom messages of humans wake; agent_wakes: of agents';
COMMENT ON COLUMN channels.go_at IS 'when a human last sent /go: earlier messages do not count for the loop guard';
UPDATE channels SET loop_limit = 0 WHERE x_type IN ('discuss', 'work');

ALTER TABLE messages ADD COLUMN agent_run integer, ADD COLUMN bound text;
COMMENT ON COLUMN messages.agent_run IS 'by an agent: how many messages of agents in a row this makes, if the loop guard was on';
COMMENT ON COLUMN messages.bound IS 'what limits whom it wakes, as of the post (events.Bound); NULL: nothing';

ALTER TABLE wakes ADD COLUMN rest_at timestamptz;
COMMENT ON COLUMN wakes.rest_at IS 'time of the oldest owed message beyond claimed_upto';

-- finish_wake removes the last hand-out from a row that this transaction has locked: everything up to claimed_upto
-- is dealt with. It returns whether the row has more, which is due now. The lock must be an earlier statement: what
-- others committed before the lock was free is visible only then.
-- +goose StatementBegin
CREATE FUNCTION finish_wake(owner text, channel uuid, which uuid) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    DELETE FROM wakes w
    WHERE w.user_id = owner AND w.channel_id = channel AND w.part = which AND w.last_seq <= w.claimed_upto;
    IF FOUND THEN
        RETURN false;
    END IF;
    UPDATE wakes w SET first_seq = w.claimed_upto + 1, first_at = coalesce(w.rest_at, w.first_at), rest_at = NULL,
        priority = w.rest_priority, width = least(100, 2 * w.width), attempts = 0, first_attempt_at = NULL, not_before = NULL, error = NULL, id = NULL,
        claimed_upto = NULL, claimed_at = NULL, lease_until = NULL, worker = NULL, instance = NULL, status = NULL, stopped_by = NULL
    WHERE w.user_id = owner AND w.channel_id = channel AND w.part = which;
    RETURN true;
END
$$;
-- +goose StatementEnd

-- As before, with the new columns, and the author as the user is now. The deliveries of a message depend on bound.
-- The LIMIT keeps the look-up of the author: a planner without statistics would read all users.
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
    m.by_agent, m.reply_to_user_id, u.kind AS author_kind, u.display_name AS author_name, m.bound
FROM events e
JOIN channels c ON c.id = e.channel_id
LEFT JOIN messages m ON m.id = e.message_id
LEFT JOIN LATERAL (SELECT u.kind, u.display_name FROM users u WHERE u.id = m.author_user_id LIMIT 1) u ON true;

CREATE TYPE guarded AS (run integer, bound text);

-- guard_loop returns what a message of an agent stores for the loop guard, if it is posted next in a channel
-- whose limit is most (above 0): how many messages of agents in a row it makes, and whether that is too many.
-- counts is false for a notice, which changes nothing. since is the time of the last /go.
--
-- It reads the channel's messages backwards. A message of a human ends the run, and so does an hour without a
-- message that counts. It stops at most + 1 messages that count, because more make no difference. Notices do
-- not count and could be many. So it stops after 400 messages, and then goes on from the run that the oldest of
-- them stored.
--
-- It is VOLATILE, so it sees the messages that its own statement has stored before: posts that are stored as a
-- group count as if they were stored one by one.
--
-- The first message above the limit is the tripped one. Concurrent posts may all be the first. So the one that
-- gets the channel's row is, after another look. The others do not wait, because a post that has drawn a number
-- must not wait. If its transaction is rolled back, one of the next messages is the tripped one.
-- +goose StatementBegin
CREATE FUNCTION guard_loop(channel uuid, most integer, since timestamptz, counts boolean) RETURNS guarded
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    r         record;
    g         guarded;
    counted   boolean;
    found_run integer := 0;         -- messages that count
    seen      integer := 0;
    earlier   integer := 0;         -- the run before the oldest message that was read
    reset     boolean := false;     -- the run has begun within what was read
    later     timestamptz := clock_timestamp();
    first     bigint := 0;          -- the oldest message of the run that was read
    muted     boolean := false;     -- it woke nobody
    told      boolean := false;     -- one of them is the tripped one
BEGIN
    FOR r IN
        SELECT m.seq, m.by_agent, m.agent_run, m.bound, m.created_at FROM messages m
        WHERE m.channel_id = channel ORDER BY m.seq DESC LIMIT 400
    LOOP
        counted := r.agent_run IS NOT NULL AND r.bound IS DISTINCT FROM 'notice';
        reset := NOT r.by_agent OR r.created_at <= coalesce(since, '-infinity') OR counted AND later - r.created_at > interval '1 hour';
        EXIT WHEN reset;
        seen := seen + 1;
        first := r.seq;
        earlier := coalesce(r.agent_run - counted::integer, 0);
        IF counted THEN
            found_run := found_run + 1;
            later := r.created_at;
            muted := coalesce(r.bound IN ('loop_guard', 'tripped'), false);
            told := told OR coalesce(r.bound = 'tripped', false);
        END IF;
        EXIT WHEN found_run > most;
    END LOOP;
    g.run := found_run + counts::integer;
    IF seen = 400 AND NOT reset AND found_run <= most THEN
        g.run := g.run + earlier;
    END IF;
    IF counts AND g.run > most THEN
        g.bound := 'loop_guard';
        IF NOT told AND NOT muted THEN
            PERFORM FROM channels c WHERE c.id = channel FOR UPDATE SKIP LOCKED;
            -- A concurrent one may be older than what was read: it drew its number long before it was committed.
            IF FOUND AND NOT EXISTS (
                SELECT FROM (
                    SELECT m.seq, m.bound, m.created_at FROM messages m
                    WHERE m.channel_id = channel ORDER BY m.seq DESC LIMIT 400) m
                WHERE m.bound = 'tripped' AND m.created_at > coalesce(since, '-infinity')
                    AND (m.seq >= first OR m.created_at > clock_timestamp() - interval '1 minute')
                    AND NOT EXISTS (
                        SELECT FROM messages h WHERE h.channel_id = channel AND h.seq > m.seq AND NOT h.by_agent))
            THEN
                g.bound := 'tripped';
            END IF;
        END IF;
    END IF;
    RETURN g;
END
$$;
-- +goose StatementEnd

-- is_fresh reports whether nobody but the reader has posted in a channel since a message. It returns NULL if
-- the message is not one of the channel, or if the reader may not read it. Messages that the reader may not
-- read do not count, because the reader could never learn of them.
-- +goose StatementBegin
CREATE FUNCTION is_fresh(last uuid, channel uuid, reader text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    kept   text := (SELECT c.history FROM channels c WHERE c.id = channel);
    joined bigint := (
        SELECT i.joined_seq FROM members i WHERE i.channel_id = channel AND i.user_id = reader AND i.left_seq IS NULL);
    place  bigint := (SELECT r.seq FROM messages r WHERE r.id = last AND readable(last, channel, kept, reader));
BEGIN
    IF place IS NULL OR joined IS NULL THEN
        RETURN NULL;
    END IF;
    IF kept = 'all' THEN
        joined := 0;
    END IF;
    IF EXISTS (
        SELECT FROM messages m
        WHERE m.channel_id = channel AND m.seq > greatest(place, joined) AND m.author_user_id <> reader)
    THEN
        RETURN false;
    END IF;
    RETURN place >= joined OR NOT EXISTS ( -- since then the reader was away
        SELECT FROM history_of(channel, reader, place, joined, 1000) AS h (id) JOIN messages m ON m.id = h.id
        WHERE m.author_user_id <> reader);
END
$$;
-- +goose StatementEnd

-- Posts look for members whom a text calls by name without mentioning them.
CREATE INDEX users_by_name ON users (lower(display_name)) WHERE display_name IS NOT NULL;

-- hold_log holds the horizon down until the transaction ends, and returns the epoch. Every number that the transaction
-- draws after it is above the horizon. The lock's key is the last number that was handed out, so it is
-- below all of them. The lock is shared: writers never wait for each other.
--
-- It checks the epoch under the lock, so what draw_seq says of an ended epoch holds here too. It raises FG001 if this
-- life of the database has none.
-- +goose StatementBegin
CREATE FUNCTION hold_log() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    k text := log_key();
    e bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(
        (log_tag() << 47) | coalesce(pg_sequence_last_value('events_seq'::regclass), 0));
    SELECT p.epoch INTO e FROM epochs p WHERE p.key = k AND p.xid::xid = p.xmin;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this life of the database has no epoch yet' USING ERRCODE = 'FG001';
    END IF;
    RETURN e;
END
$$;
-- +goose StatementEnd

-- author_of and append_tripped are functions because few posts need them. As parts of the statement of post_messages
-- each post would pay for preparing them.
-- +goose StatementBegin
CREATE FUNCTION author_of(message uuid) RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT m.author_user_id FROM messages m WHERE m.id = message);
END
$$;
-- +goose StatementEnd

-- append_tripped appends guard.tripped for a message, and returns the bound that the message has.
-- +goose StatementBegin
CREATE FUNCTION append_tripped(message uuid, channel uuid, author text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    INSERT INTO events (kind, channel_id, user_id, message_id) VALUES ('guard.tripped', channel, author, message);
    RETURN 'tripped';
END
$$;
-- +goose StatementEnd

DROP FUNCTION post_messages(integer, integer, boolean, text, boolean, uuid[], uuid[], text[], text[], uuid[], text[], text[], text[]);

-- post_messages stores messages with their events, one row each, however large the channel is. It returns one
-- row for each message, in any order. It is a function because it must take the channels' locks in a
-- statement before the one that reads the rosters, without a round trip between the two.
--
-- The n-th message consists of the n-th elements. mentioned and guilds are ids with commas between. guilds
-- are the guilds that the author's token allows; NULL means all. turn and two_state apply to every message.
--
-- A message with a wake id is the author's reply for this wake. It is stored only if the wake is still the
-- author's. If it is stored, the same transaction ends the wake, or, where keeps is true, extends its lease to
-- lease_seconds from now. Without replies, wake_ids is NULL. Two messages must not have the same wake id. The column
-- wake says what the reply answered.
--
-- A message stores its author's kind at the time of the post (by_agent): the author is an agent, or the message
-- answers a wake. It also stores what limits whom it wakes: a notice (notices, NULL: none; or keeps), the loop guard,
-- or the channel's settings. post_messages appends guard.tripped for the message that trips the guard. author_kind
-- and author_name are those of now; both are NULL for a user without a row.
--
-- The connection or an earlier statement of the transaction must have made the settings of db/settings.go.
--
-- The log is held within the statement that stores, and not before: a statement first waits for its tables, which
-- another session may have locked (CREATE INDEX), and what holds the log must not wait.
--
-- A post with an element in lasts (NULL: none has one) is refused, and its wake stays, if others have posted
-- since that message. Its transaction must hold the channel exclusively, by an earlier statement.
--
-- A post without a row is refused, and its wake stays. Its channel does not exist, is archived, does not have the
-- author as a member, or (unless turns_too) is one in which members take turns. Or the message that it replies to
-- is not readable.
--
-- A post whose row has no number is not stored either: the shared side of its channel's lock, of class
-- lock_class, was not free. Or its wake was locked or lost, or may not be extended any more. post_messages never
-- waits for a channel lock or a wake, because another transaction may hold it for long. If lock_class is NULL, the
-- transaction holds the channels' locks and the wakes already. (A try would fail where others wait.)
--
-- Scalar sub-selects look up single members, and a LIMIT looks up channels. As joins, a planner without
-- statistics would read whole tables instead. The planner estimates as many rows from an unnest as come. What
-- it estimates for large rosters would make it compile the statement (jit), which costs a hundred times more
-- than running it.
-- +goose StatementBegin
CREATE FUNCTION post_messages(
    lock_class integer, listed integer, turns_too boolean, turn text, two_state boolean,
    ids uuid[], channel_ids uuid[], authors text[], contents text[], replies uuid[], mentioned text[], guilds text[],
    admins text[], notices boolean[], lasts uuid[], wake_ids uuid[], keeps boolean[], lease_seconds double precision[])
RETURNS TABLE (
    n integer, epoch bigint, seq bigint, occurred_at timestamptz, guild_id text, name text, x_type text, member_count integer,
    mention_user_ids text[], admin_user_id text, roster text[], wake_list text[], wake jsonb,
    reply_to_user_id text, by_agent boolean, author_kind text, author_name text, bound text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    fenced record;
    held integer[] := '{}'; -- places of the posts that must wait
    stale integer[] := '{}'; -- places of the posts whose authors have not read everything
    parts uuid[];           -- of the wakes that are locked
    ended uuid[];           -- ids of those that end
    firsts bigint[];
    uptos bigint[];
    untils timestamptz[];   -- new ends of those that are kept
    wakes_of jsonb[];
    stored integer;         -- how many posts
    left_over boolean;
BEGIN
    IF lock_class IS NOT NULL THEN
        FOR i IN 1 .. cardinality(ids) LOOP
            IF NOT pg_try_advisory_xact_lock_shared(lock_class, hashtext(channel_ids[i]::text)) THEN
                held := held || i;
            END IF;
        END LOOP;
    END IF;
    IF lasts IS NOT NULL THEN
        FOR i IN 1 .. cardinality(ids) LOOP
            IF lasts[i] IS NOT NULL AND is_fresh(lasts[i], channel_ids[i], authors[i]) IS NOT TRUE THEN
                stale := stale || i;
            END IF;
        END LOOP;
    END IF;
    IF wake_ids IS NOT NULL THEN
        -- The fence comes after the channel's lock and before the number.
        FOR i IN 1 .. cardinality(ids) LOOP
            CONTINUE WHEN wake_ids[i] IS NULL OR i = ANY (held) OR i = ANY (stale);
            SELECT w.part, w.first_seq, w.last_seq, w.claimed_upto, w.claimed_at, w.stopped_by IS NOT NULL AS stop,
                least(greatest(w.lease_until, clock_timestamp() + make_interval(secs => lease_seconds[i])),
                    w.claimed_at + interval '1 hour') AS until
            INTO fenced FROM wakes w
            WHERE w.user_id = authors[i] AND w.id = wake_ids[i] AND w.channel_id = channel_ids[i]
                -- An ended lease is extended only with the author's queue locked, and only a transaction can wait for that.
                AND (NOT keeps[i] OR w.claimed_at + interval '1 hour' > clock_timestamp()
                    AND (lock_class IS NULL OR w.lease_until > clock_timestamp()))
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
    WITH h AS MATERIALIZED ( -- runs when the first row asks for it, and once
        SELECT hold_log() AS epoch
    ), d AS MATERIALIZED ( -- the posts that are stored, with all that is looked up once
        SELECT p.i, p.author, c.*, u.kind, u.display_name,
            coalesce(notices[i], false) OR coalesce(keeps[i], false) AS notice,
            wake_ids[i] IS NOT NULL OR coalesce(u.kind = 'agent', false) AS by_agent
        FROM unnest(authors) WITH ORDINALITY AS p (author, i) CROSS JOIN LATERAL (
            SELECT c.id, c.guild_id, c.name, c.x_type, c.history, c.member_count, c.wake_version, c.loop_limit,
                c.human_wakes, c.agent_wakes, c.go_at
            FROM channels c WHERE c.id = channel_ids[i] AND c.archived_seq IS NULL LIMIT 1) c
        LEFT JOIN LATERAL (SELECT u.kind, u.display_name FROM users u WHERE u.id = p.author LIMIT 1) u ON true
        WHERE i <> ALL (held) AND i <> ALL (stale)
            AND (turns_too OR c.x_type NOT IN ('discuss', 'work'))
            AND (guilds[i] IS NULL OR c.guild_id = ANY (string_to_array(guilds[i], ',')))
            AND (SELECT true FROM members a WHERE a.channel_id = c.id AND a.user_id = p.author AND a.left_seq IS NULL)
            AND (replies[i] IS NULL OR readable(replies[i], c.id, c.history, p.author))
    ), m AS (
        -- All columns in the table's order: otherwise Postgres puts each row together once more.
        INSERT INTO messages AS m (id, channel_id, seq, author_user_id, content, mention_user_ids, reply_to, created_at,
            wake_version, turn_user_id, admin_user_id, two_state, edited_at, edited_seq, deleted_at,
            wake_id, wake_first, wake_upto, reply_to_user_id, by_agent, agent_run, bound)
        SELECT ids[p.i], p.id,
            CASE WHEN (SELECT h.epoch FROM h) > 0 THEN nextval('events_seq') END, -- the lock, and then the number
            p.author, contents[p.i],
            CASE WHEN mentioned[p.i] IS NULL THEN '{}' ELSE at_list(p.id, p.author, mentioned[p.i]) END,
            replies[p.i], clock_timestamp(), p.wake_version, post_messages.turn,
            CASE p.x_type WHEN 'triage' THEN admins[p.i] END, post_messages.two_state,
            NULL::timestamptz, NULL::bigint, NULL::timestamptz, ended[p.i], firsts[p.i], uptos[p.i],
            CASE WHEN replies[p.i] IS NOT NULL THEN author_of(replies[p.i]) END,
            p.by_agent, (p.guard).run,
            CASE WHEN p.notice THEN 'notice' ELSE coalesce((p.guard).bound, p.wakes) END
        FROM (
            -- One row at a time comes from here and is stored, before guard_loop looks for the next.
            SELECT d.i, d.author, d.id, d.x_type, d.wake_version, d.notice, d.by_agent,
                nullif(CASE WHEN d.by_agent THEN d.agent_wakes ELSE d.human_wakes END, 'all') AS wakes,
                CASE WHEN d.by_agent AND d.loop_limit > 0 AND d.x_type <> 'report'
                    THEN guard_loop(d.id, d.loop_limit, d.go_at, NOT d.notice) END AS guard
            FROM d OFFSET 0) p -- the OFFSET keeps guard_loop from being called twice
        RETURNING m.id, m.channel_id, m.seq, m.author_user_id, m.created_at, m.mention_user_ids, m.admin_user_id,
            m.reply_to_user_id, m.bound
    ), e AS (
        INSERT INTO events (seq, kind, channel_id, user_id, message_id, admin_user_id, occurred_at)
        SELECT m.seq, 'message.created', m.channel_id, m.author_user_id, m.id, m.admin_user_id, m.created_at FROM m
    )
    SELECT d.i::integer, (SELECT h.epoch FROM h), m.seq, m.created_at, d.guild_id, d.name, d.x_type, d.member_count,
        m.mention_user_ids, m.admin_user_id,
        CASE WHEN d.x_type = 'dm' OR d.x_type = 'general' AND m.mention_user_ids = '{}' AND m.bound IS NULL THEN
            ARRAY(SELECT r.user_id FROM members r WHERE r.channel_id = d.id AND r.left_seq IS NULL
                ORDER BY r.joined_seq, r.position LIMIT listed) END,
        CASE WHEN d.wake_version > 0 THEN wakeable(d.id, d.wake_version) END,
        wakes_of[d.i], m.reply_to_user_id, d.by_agent, d.kind, d.display_name,
        CASE m.bound WHEN 'tripped' THEN append_tripped(m.id, m.channel_id, m.author_user_id) ELSE m.bound END
    FROM m JOIN d ON ids[d.i] = m.id;
    GET DIAGNOSTICS stored = ROW_COUNT;
    IF wake_ids IS NOT NULL THEN
        -- A refused post ends nothing; only if one was refused, look which. Nothing below waits: the rows are
        -- locked. An assignment calls finish_wake at half the cost of a query.
        FOR i IN 1 .. cardinality(ids) LOOP
            CONTINUE WHEN parts[i] IS NULL;
            IF stored < cardinality(ids) - cardinality(held) - cardinality(stale) THEN
                CONTINUE WHEN NOT EXISTS (SELECT FROM messages m WHERE m.id = ids[i]);
            END IF;
            IF untils[i] IS NULL THEN
                left_over := finish_wake(authors[i], channel_ids[i], parts[i]);
            ELSE
                UPDATE wakes w SET lease_until = untils[i]
                WHERE w.user_id = authors[i] AND w.channel_id = channel_ids[i] AND w.part = parts[i];
            END IF;
        END LOOP;
    END IF;
    IF held <> '{}' THEN
        RETURN QUERY SELECT i, NULL::bigint, NULL::bigint, NULL::timestamptz, NULL, NULL, NULL, NULL::integer,
            NULL::text[], NULL, NULL::text[], NULL::text[], NULL::jsonb, NULL, NULL::boolean, NULL, NULL, NULL
        FROM unnest(held) AS i;
    END IF;
END
$$;
-- +goose StatementEnd
