-- Posts that come together are stored together: one statement and one commit for all of them. It is a
-- function for what a plain statement cannot do: take the channels' locks in a statement of its own, before
-- the one that reads the rosters, without a round trip between the two.

-- +goose Up

-- As before, but worked out once for each server process, which serves one life of the cluster: a process that
-- outlives a promotion has seen an error until then. So it may stay in the session, whoever gets it from a pooler.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION log_key() RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    k text := nullif(current_setting('fabric_guild.key', true), '');
BEGIN
    IF k IS NULL THEN
        k := (SELECT system_identifier FROM pg_control_system())
            || '/' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
            || '/' || extract(epoch FROM pg_postmaster_start_time());
        PERFORM set_config('fabric_guild.key', k, false);
    END IF;
    RETURN k;
END
$$;
-- +goose StatementEnd

-- As before, but once for each transaction: within one the database cannot begin a new life.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION log_epoch() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    e bigint := nullif(current_setting('fabric_guild.epoch', true), '')::bigint;
BEGIN
    IF e IS NULL THEN
        e := (SELECT epoch FROM epochs WHERE key = log_key());
        IF e IS NULL THEN
            RAISE EXCEPTION 'this life of the database has no epoch yet' USING ERRCODE = 'FG001';
        END IF;
        PERFORM set_config('fabric_guild.epoch', e::text, true);
    END IF;
    RETURN e;
END
$$;
-- +goose StatementEnd

-- The next three are apart from post_messages because a statement pays for every sub-select that it has, also for
-- those that it does not need.

-- at_list is who of those mentioned (ids with commas between) is a member of a channel, without the author.
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

-- wakeable is who of a channel's wake list, in its order, is a member.
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

-- readable reports whether a message is in a channel, where a member may read it.
-- +goose StatementBegin
CREATE FUNCTION readable(message uuid, channel uuid, history text, reader text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM messages r
        WHERE r.id = message AND r.channel_id = channel AND (history = 'all' OR EXISTS (
            SELECT FROM members i WHERE i.channel_id = channel AND i.user_id = reader
                AND i.joined_seq <= r.seq AND (i.left_seq IS NULL OR r.seq < i.left_seq))));
END
$$;
-- +goose StatementEnd

-- post_messages stores messages with their events, one row each, however large the channel, and answers a row
-- for each of them in any order. The n-th message is made of the n-th elements; mentioned and guilds (those that
-- its author's token is for, NULL: all) are ids with commas between. turn and two_state are those of all.
--
-- A post without a row is refused: no such channel with the author in it, or an archived one, or nothing to
-- reply to, or, unless turns_too, one in which turns are taken. One without a number is not stored either: the
-- shared side of its channel's lock, of lock_class, was not to be had at once. It never waits for one, which
-- somebody may hold. lock_class NULL: the transaction holds the channels already (to try again would fail
-- where others wait).
--
-- Single members are asked for by scalar sub-selects, and channels with a LIMIT: as joins, a planner without
-- statistics reads whole tables instead. Of an unnest it expects as many rows as come; what it expects of large
-- rosters would have the statement compiled, for a hundred times its price (jit).
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
    -- What was acknowledged is on disk, whatever the server's default is; and no statement is planned anew.
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
