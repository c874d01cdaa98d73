-- What retention and long absences ask of the tables.

-- +goose Up

-- Retention deletes at the log's old end, a small part a day. Its room is used again once it is vacuumed, so
-- that is not to wait until a fifth of the log is dead. The file is never cut short, which would lock writers
-- out; the log grows into it again.
ALTER TABLE events SET (autovacuum_vacuum_scale_factor = 0.05, vacuum_truncate = off);

-- With messages_history a member of few channels finds what they missed without walking what others said.
-- Posts, which are most of the log, are not in it, and do not pay for it.
CREATE INDEX events_of_channel ON events (channel_id, seq) WHERE kind <> 'message.created';

-- Intervals stay for ever, since history goes by them; those that ended long ago are not to be read each
-- time that their user comes back.
DROP INDEX members_of_user;
CREATE INDEX members_of_user ON members (user_id, left_seq);
