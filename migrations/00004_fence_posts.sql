-- A reply ends its wake in the group of posts that stores it.

-- +goose Up

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
    admins text[], wake_ids uuid[], keeps boolean[], lease_seconds double precision[])
RETURNS TABLE (
    n integer, epoch bigint, seq bigint, occurred_at timestamptz, guild_id text, name text, x_type text, member_count integer,
    mention_user_ids text[], admin_user_id text, roster text[], wake_list text[], wake jsonb)
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
            wake_version, turn_user_id, admin_user_id, two_state, wake_id, wake_first, wake_upto)
        SELECT p.id, c.id, draw_seq(), p.author, contents[i],
            CASE WHEN mentioned[i] IS NULL THEN '{}' ELSE at_list(c.id, p.author, mentioned[i]) END,
            replies[i], clock_timestamp(), c.wake_version, post_messages.turn, CASE c.x_type WHEN 'triage' THEN admins[i] END,
            post_messages.two_state, ended[i], firsts[i], uptos[i]
        FROM unnest(ids, authors) WITH ORDINALITY AS p (id, author, i) CROSS JOIN LATERAL (
            SELECT c.id, c.guild_id, c.x_type, c.history, c.wake_version
            FROM channels c WHERE c.id = channel_ids[i] AND c.archived_seq IS NULL LIMIT 1) c
        WHERE i <> ALL (held)
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
        CASE WHEN m.wake_version > 0 THEN wakeable(c.id, m.wake_version) END,
        wakes_of[array_position(ids, m.id)]
    FROM m CROSS JOIN LATERAL (
        SELECT c.id, c.guild_id, c.name, c.x_type, c.member_count FROM channels c WHERE c.id = m.channel_id LIMIT 1) c;
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
            NULL::text[], NULL, NULL::text[], NULL::text[], NULL::jsonb
        FROM unnest(held) AS i;
    END IF;
END
$$;
-- +goose StatementEnd
