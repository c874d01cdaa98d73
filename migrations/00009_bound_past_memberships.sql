-- Past memberships cost nothing, and ex-members see no later names.

-- +goose Up

-- The intervals of one user and channel never overlap. So the only one that can hold a number is the last one that
-- begins at or below it: one entry of members_pkey, however often the user left and came back.

-- As before, but it reads one interval. posts call it inside the group that all posts share.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION readable(message uuid, channel uuid, history text, reader text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
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

-- history_of returns the newest messages of a channel, between two numbers (both excluded), that were posted while
-- reader was a member. It alternates between the two indexes: the next message says which interval can hold it, and
-- an interval without it says where to look for the next message. So it reads neither a run of messages that are not
-- for the reader nor a run of intervals without messages.
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

-- A user's memberships that last are read in pages, by channel. One member of a channel is found by this order as
-- well, so the index takes the place of the one that began with the channel.
DROP INDEX members_once;
CREATE UNIQUE INDEX members_once ON members (user_id, channel_id) WHERE left_seq IS NULL;

-- A rename keeps the name that it replaced, in its own event: so the name as of any place in the log is that of the
-- first rename after it. It goes when its event goes, and by then nobody can ask for an older place.
ALTER TABLE events ADD COLUMN old_name text;
COMMENT ON COLUMN events.old_name IS 'channel.updated by a rename: the name until then';
CREATE INDEX events_renames ON events (channel_id, seq) WHERE old_name IS NOT NULL;

-- As before, but with the channel's name as of the event: whoever left before a rename does not see the new name.
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
    -- Who left between the event and the text's latest change: the change is not for them.
    CASE WHEN m.edited_seq > e.seq THEN ARRAY(
        SELECT g.user_id FROM members g
        WHERE g.channel_id = e.channel_id AND g.left_seq > e.seq AND g.left_seq < m.edited_seq)
    END AS gone
FROM events e
JOIN channels c ON c.id = e.channel_id
LEFT JOIN messages m ON m.id = e.message_id;
