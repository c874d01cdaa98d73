-- What a user has read, and the words of messages for the search.

-- +goose Up

-- As before, but it looks for the interval by a comparison of triples, because only members_pkey fits it. A
-- planner with stale statistics walked the roster of the channel instead.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION history_of(channel uuid, reader text, after_seq bigint, before_seq bigint, most bigint)
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
        SELECT i.joined_seq, i.left_seq INTO joined, ended FROM (
            SELECT i.* FROM members i WHERE (i.channel_id, i.user_id, i.joined_seq) <= (channel, reader, newest)
            ORDER BY i.channel_id DESC, i.user_id DESC, i.joined_seq DESC LIMIT 1) i
        WHERE i.channel_id = channel AND i.user_id = reader;
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

-- As before, but it looks for the interval as history_of does.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION readable(message uuid, channel uuid, history text, reader text) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM messages r
        WHERE r.id = message AND r.channel_id = channel AND (history = 'all' OR (
            SELECT i.channel_id = channel AND i.user_id = reader AND (i.left_seq IS NULL OR r.seq < i.left_seq)
            FROM members i WHERE (i.channel_id, i.user_id, i.joined_seq) <= (channel, reader, r.seq)
            ORDER BY i.channel_id DESC, i.user_id DESC, i.joined_seq DESC LIMIT 1)));
END
$$;
-- +goose StatementEnd

-- One row per user and channel that the user has marked as read. Posting writes nothing here.
CREATE TABLE read_markers (
    user_id    text   NOT NULL,
    channel_id uuid   NOT NULL,
    read_seq   bigint NOT NULL,
    CONSTRAINT read_markers_pkey PRIMARY KEY (user_id, channel_id)
);
COMMENT ON COLUMN read_markers.read_seq IS 'the number of the last message that the user has read; it only grows';

-- The words of each message, apart from the messages, so that a post stays two rows. RunIndexer fills the table
-- behind the posts. An edit or a deletion replaces the row in its own transaction, also if there is none yet:
-- then the indexer finds a row and leaves it alone. There is no index over the words: see db/README.md.
CREATE TABLE message_words (
    channel_id uuid     NOT NULL,
    seq        bigint   NOT NULL,
    words      tsvector NOT NULL,
    CONSTRAINT message_words_pkey PRIMARY KEY (channel_id, seq)
);
COMMENT ON COLUMN message_words.words IS 'empty once the message is deleted';

-- Its one row says up to which event message_words is complete.
CREATE TABLE words_cursor (
    one boolean NOT NULL DEFAULT true CONSTRAINT words_cursor_pkey PRIMARY KEY CONSTRAINT words_cursor_one CHECK (one),
    seq bigint  NOT NULL
);
-- Messages from before this migration. Numbers above the horizon may still be undecided; the indexer takes them.
INSERT INTO words_cursor (seq) SELECT coalesce((SELECT max(e.seq) FROM events e WHERE e.seq <= h.horizon), 0) FROM log_horizon() h;
INSERT INTO message_words (channel_id, seq, words)
SELECT m.channel_id, m.seq, to_tsvector('pg_catalog.simple', m.content)
FROM messages m WHERE m.seq <= (SELECT w.seq FROM words_cursor w);

-- unread_of returns the messages of a channel after the reader's marker, up to a number, that are not the
-- reader's own, not deleted, and readable: at most most of them, newest first. Without a marker it begins at
-- the reader's join. It looks at no more than looks messages. In triage channels, where a reader may not hear
-- all messages, it returns all that it looks at. Like history_of it reads neither a run of messages that are not
-- for the reader nor a run of intervals without messages.
-- +goose StatementBegin
CREATE FUNCTION unread_of(channel uuid, reader text, up_to bigint, most integer, looks integer)
RETURNS SETOF uuid LANGUAGE plpgsql STABLE AS $$
DECLARE
    joined     bigint;
    ended      bigint;
    after_seq  bigint;
    before_seq bigint := up_to + 1;
    newest     bigint;
    whole      boolean;
    found_row  record;
BEGIN
    SELECT i.joined_seq, i.left_seq INTO joined, ended FROM (
        SELECT i.* FROM members i WHERE (i.channel_id, i.user_id, i.joined_seq) <= (channel, reader, up_to)
        ORDER BY i.channel_id DESC, i.user_id DESC, i.joined_seq DESC LIMIT 1) i
    WHERE i.channel_id = channel AND i.user_id = reader;
    IF NOT FOUND OR ended <= up_to THEN
        RETURN;
    END IF;
    after_seq := coalesce((SELECT r.read_seq FROM read_markers r WHERE r.user_id = reader AND r.channel_id = channel), joined);
    SELECT c.history = 'all', CASE c.x_type WHEN 'triage' THEN looks ELSE most END INTO whole, most
    FROM channels c WHERE c.id = channel;
    LOOP
        SELECT m.seq INTO newest FROM messages m
        WHERE m.channel_id = channel AND m.seq > after_seq AND m.seq < before_seq
        ORDER BY m.seq DESC LIMIT 1;
        EXIT WHEN NOT FOUND;
        joined := 0;
        ended := NULL;
        IF NOT whole THEN
            SELECT i.joined_seq, i.left_seq INTO joined, ended FROM (
                SELECT i.* FROM members i WHERE (i.channel_id, i.user_id, i.joined_seq) <= (channel, reader, newest)
                ORDER BY i.channel_id DESC, i.user_id DESC, i.joined_seq DESC LIMIT 1) i
            WHERE i.channel_id = channel AND i.user_id = reader;
            EXIT WHEN NOT FOUND;
        END IF;
        IF ended <= newest THEN
            before_seq := ended;
            CONTINUE;
        END IF;
        FOR found_row IN
            SELECT m.id, m.author_user_id <> reader AND m.deleted_at IS NULL AS unread FROM messages m
            WHERE m.channel_id = channel AND m.seq > after_seq AND m.seq >= joined AND m.seq <= newest
            ORDER BY m.seq DESC LIMIT looks
        LOOP
            looks := looks - 1;
            IF found_row.unread THEN
                RETURN NEXT found_row.id;
                most := most - 1;
                EXIT WHEN most = 0;
            END IF;
        END LOOP;
        EXIT WHEN most = 0 OR looks = 0;
        before_seq := joined;
    END LOOP;
END
$$;
-- +goose StatementEnd

-- intervals_in returns the reader's intervals in a channel that reach into [low, high), newest first. It looks up
-- one after the other: a join would let the planner read all memberships of the reader for each channel.
-- +goose StatementBegin
CREATE FUNCTION intervals_in(channel uuid, reader text, low bigint, high bigint)
RETURNS TABLE (first bigint, ended bigint) LANGUAGE plpgsql STABLE ROWS 2 AS $$
BEGIN
    LOOP
        SELECT i.joined_seq, i.left_seq INTO first, ended FROM (
            SELECT i.* FROM members i WHERE (i.channel_id, i.user_id, i.joined_seq) < (channel, reader, high)
            ORDER BY i.channel_id DESC, i.user_id DESC, i.joined_seq DESC LIMIT 1) i
        WHERE i.channel_id = channel AND i.user_id = reader;
        EXIT WHEN NOT FOUND OR ended <= low;
        RETURN NEXT;
        high := first;
        EXIT WHEN high <= low;
    END LOOP;
END
$$;
-- +goose StatementEnd

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
            'channels', 'epochs', 'events', 'guild_users', 'log_floor', 'members', 'message_words', 'messages',
            'read_markers', 'users', 'wake_lists', 'words_cursor']) AS t (name)
            ON c.conrelid = to_regclass(t.name) AND c.contype = 'p') < 12 THEN
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
            (SELECT max(w.last_seq) FROM wakes_dead w), (SELECT max(r.read_seq) FROM read_markers r),
            (SELECT w.seq FROM words_cursor w), (
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
