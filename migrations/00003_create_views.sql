-- +goose Up

-- An event with what it refers to, as both readers of the log select it. The names of a channel and the
-- text of a message are as they are now: the log refers to them, it does not copy them.
CREATE VIEW event_rows AS
SELECT e.seq, e.kind, e.user_id, e.occurred_at, e.channel_id, c.guild_id, c.name, c.x_type,
    CASE WHEN e.kind = 'channel.created' THEN ARRAY(
        SELECT f.user_id FROM members f
        WHERE f.channel_id = e.channel_id AND f.joined_seq = e.seq ORDER BY f.position)
    END AS joined,
    e.message_id, m.content, m.mention_user_ids, m.reply_to, m.created_at
FROM events e
JOIN channels c ON c.id = e.channel_id
LEFT JOIN messages m ON m.id = e.message_id;
