-- Posts that come together are stored together: one statement and one commit for all of them. It is a
-- function for what a plain statement cannot do: take the channels' locks in a statement of its own, before
-- the one that reads the rosters, without a round trip between the two.

-- +goose Up

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

-- post_messages stores messages with their events, one row each, however large the channel, and answers a row
-- for each of them in any order. The i-th message is made of the i-th elements; mentioned and guilds (those that its
-- author's token is for, NULL: all) are ids with commas between.
--
-- It never waits for a channel, which somebody may hold: where the shared side of its lock, of lock_class, is
-- not to be had at once, held is false, and nothing is stored. NULL: the transaction holds the channels
-- already (to try again would fail where others wait). Where held is true and seq is NULL, the post is refused: no such
-- channel with the author in it, or an archived one, or nothing to reply to, or, unless turns_too, one in which
-- turns are taken.
--
-- Single members are asked for by scalar sub-selects: as joins, a planner without statistics reads the
-- whole roster instead.
-- +goose StatementBegin
CREATE FUNCTION post_messages(
    lock_class integer, listed integer, turns_too boolean,
    ids uuid[], channel_ids uuid[], authors text[], contents text[], replies uuid[], mentioned text[], guilds text[],
    turns text[], admins text[], two_states boolean[])
RETURNS TABLE (
    n bigint, held boolean, epoch bigint, seq bigint, occurred_at timestamptz, guild_id text, name text, x_type text, member_count integer,
    at_list text[], admin text, roster text[], wake_list text[])
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    locked uuid[];
BEGIN
    -- What was acknowledged is on disk, whatever the server's default is; and no statement is planned anew.
    PERFORM set_config('synchronous_commit', 'on', true), set_config('lock_timeout', '5s', true),
        set_config('plan_cache_mode', 'force_generic_plan', true);
    IF lock_class IS NULL THEN
        locked := channel_ids;
    ELSE
        locked := ARRAY(SELECT c FROM (SELECT DISTINCT c FROM unnest(channel_ids) AS c) c
            WHERE pg_try_advisory_xact_lock_shared(lock_class, hashtext(c::text)));
    END IF;
    RETURN QUERY
    WITH p AS (
        SELECT p.* FROM unnest(ids, channel_ids, authors, contents, replies, mentioned, guilds, turns, admins, two_states)
            WITH ORDINALITY AS p (id, channel_id, author, content, reply_to, mentioned, guilds, turn, admin, two_state, n)
    ), ok AS (
        SELECT p.*, c.guild_id, c.name, c.x_type, c.member_count, c.wake_version,
            CASE WHEN p.mentioned IS NULL THEN '{}' ELSE ARRAY(
                SELECT u.id FROM unnest(string_to_array(p.mentioned, ',')) WITH ORDINALITY AS u (id, position)
                WHERE u.id <> p.author AND (
                    SELECT true FROM members a WHERE a.channel_id = p.channel_id AND a.user_id = u.id AND a.left_seq IS NULL)
                ORDER BY u.position) END AS at_list
        FROM p CROSS JOIN LATERAL ( -- the LIMIT keeps it a look-up for each
            SELECT c.* FROM channels c WHERE c.id = p.channel_id AND c.archived_seq IS NULL LIMIT 1) c
        WHERE p.channel_id = ANY (locked)
            AND (turns_too OR c.x_type NOT IN ('discuss', 'work'))
            AND (p.guilds IS NULL OR c.guild_id = ANY (string_to_array(p.guilds, ',')))
            AND (SELECT true FROM members a WHERE a.channel_id = p.channel_id AND a.user_id = p.author AND a.left_seq IS NULL)
            AND (p.reply_to IS NULL OR (SELECT true FROM messages r WHERE r.id = p.reply_to AND r.channel_id = p.channel_id
                AND (c.history = 'all' OR EXISTS (SELECT FROM members i WHERE i.channel_id = p.channel_id AND i.user_id = p.author
                    AND i.joined_seq <= r.seq AND (i.left_seq IS NULL OR r.seq < i.left_seq)))))
    ), e AS (
        INSERT INTO events AS e (kind, channel_id, user_id, message_id, admin_user_id)
        SELECT 'message.created', ok.channel_id, ok.author, ok.id, CASE ok.x_type WHEN 'triage' THEN ok.admin END
        FROM ok ORDER BY ok.n
        RETURNING e.seq, e.occurred_at, e.message_id, e.admin_user_id
    ), m AS (
        INSERT INTO messages (id, channel_id, seq, author_user_id, content, mention_user_ids, reply_to, created_at,
            wake_version, turn_user_id, admin_user_id, two_state)
        SELECT ok.id, ok.channel_id, e.seq, ok.author, ok.content, ok.at_list, ok.reply_to, e.occurred_at,
            ok.wake_version, ok.turn, e.admin_user_id, ok.two_state
        FROM e JOIN ok ON ok.id = e.message_id
    )
    SELECT p.n, p.channel_id = ANY (locked), log_epoch(), e.seq, e.occurred_at, ok.guild_id, ok.name, ok.x_type, ok.member_count,
        ok.at_list, e.admin_user_id,
        CASE WHEN ok.x_type = 'dm' OR ok.x_type = 'general' AND ok.at_list = '{}' THEN
            ARRAY(SELECT r.user_id FROM members r WHERE r.channel_id = ok.channel_id AND r.left_seq IS NULL
                ORDER BY r.joined_seq, r.position LIMIT listed) END,
        CASE WHEN ok.wake_version > 0 THEN
            ARRAY(SELECT u.id FROM wake_lists w, unnest(w.user_ids) WITH ORDINALITY AS u (id, position)
                WHERE w.channel_id = ok.channel_id AND w.version = ok.wake_version AND (
                    SELECT true FROM members r WHERE r.channel_id = ok.channel_id AND r.user_id = u.id AND r.left_seq IS NULL)
                ORDER BY u.position) END
    FROM p LEFT JOIN ok ON ok.n = p.n LEFT JOIN e ON e.message_id = ok.id;
END
$$;
-- +goose StatementEnd
