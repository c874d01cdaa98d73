-- What grows for ever is not to be read again and again: intervals that are over, and rosters.

-- +goose Up

-- Who left while a text was changed is asked for each event whose message was edited since.
CREATE INDEX members_left ON members (channel_id, left_seq) WHERE left_seq IS NOT NULL;

-- While there are no statistics, one member is as cheap to look up in either index of those who are there, or so it
-- seems; then the planner takes the one that was made last, and members_present would have it read the whole roster.
DROP INDEX members_once;
CREATE UNIQUE INDEX members_once ON members (channel_id, user_id) WHERE left_seq IS NULL;
