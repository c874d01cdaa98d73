-- Whether the database is still the one that the servers and clients knew is decided from the data too: a
-- dump brings its epochs along, and tables can be copied one by one.

-- +goose Up

-- The sequence stays within the bits that a lock's key has for it (draw_seq). Beyond them a lock would hold
-- nothing.
ALTER SEQUENCE events_seq MAXVALUE 140737488355327;

-- xid is the transaction that wrote the row. In a row that a dump brought back, it differs from xmin. head
-- is the greatest number that was committed when the epoch began: reading goes on from there. NULL: base.
-- Usually base is the same. It is 0 where nothing is known about which older cursors the data agrees with.
-- ended says how the data contradicted the epoch. NULL: it did not.
ALTER TABLE epochs
    ADD COLUMN xid   xid8 NOT NULL DEFAULT pg_current_xact_id(),
    ADD COLUMN head  bigint,
    ADD COLUMN ended text;

-- The greatest number of an edit, for log_begin.
CREATE INDEX messages_edited ON messages (edited_seq) WHERE edited_seq IS NOT NULL;

-- The key of an epoch has two parts. The first is true of the server process for as long as it lives, so it
-- may stay in the session: system identifier, timeline, start of the postmaster, oid of the database. The
-- second is the table events itself, asked for in each call: a restore gives it another oid, TRUNCATE
-- another file. VACUUM FULL gives it another file as well. It waits for all who have appended and lets
-- nobody append meanwhile, so the new epoch's base is exact and costs nobody a reset.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION log_key() RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    process text := nullif(current_setting('fabric_guild.process', true), '');
    log     regclass := to_regclass('events');
BEGIN
    IF process IS NULL THEN
        process := (SELECT system_identifier FROM pg_control_system())
            || '/' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
            || '/' || extract(epoch FROM pg_postmaster_start_time())
            || '/' || (SELECT d.oid FROM pg_database d WHERE d.datname = current_database());
        PERFORM set_config('fabric_guild.process', process, false);
    END IF;
    RETURN process || '/' || log::oid || '/' || pg_relation_filenode(log);
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION log_epoch() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    e bigint := nullif(current_setting('fabric_guild.epoch', true), '')::bigint;
    k text;
BEGIN
    IF e IS NULL THEN
        k := log_key(); -- once, not for each row
        e := (SELECT p.epoch FROM epochs p WHERE p.key = k AND p.xid::xid = p.xmin);
        IF e IS NULL THEN
            RAISE EXCEPTION 'this life of the database has no epoch yet' USING ERRCODE = 'FG001';
        END IF;
        PERFORM set_config('fabric_guild.epoch', e::text, true);
    END IF;
    RETURN e;
END
$$;
-- +goose StatementEnd

-- As before, but the epoch is checked under the lock: whoever ends an epoch and then finds no lock held
-- knows that nobody draws in it any more.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION draw_seq() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(
        (log_tag() << 47) | coalesce(pg_sequence_last_value('events_seq'::regclass), 0));
    PERFORM log_epoch();
    RETURN nextval('events_seq');
END
$$;
-- +goose StatementEnd

-- log_held is the smallest key that a writer holds, NULL if nobody does.
-- +goose StatementBegin
CREATE FUNCTION log_held() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN (
        SELECT min(((l.classid::bigint << 32) | l.objid::bigint) & 140737488355327)
        FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.objsubid = 1
          AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
          AND l.classid::bigint >> 15 = log_tag());
END
$$;
-- +goose StatementEnd

-- As before, and contradiction says why these tables cannot belong to this sequence. What is committed is
-- read before the last number, so that a number which is drawn in between is no contradiction. To read
-- events first also keeps a TRUNCATE or a restore from coming between the horizon and the rows of one
-- transaction.
DROP FUNCTION log_horizon();
-- +goose StatementBegin
CREATE FUNCTION log_horizon(
    OUT last bigint, OUT horizon bigint, OUT epoch bigint, OUT base bigint, OUT head bigint,
    OUT contradiction text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    k      text;
    newest bigint;
    floor  bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the log is read in READ COMMITTED only, not in %', current_setting('transaction_isolation');
    END IF;
    newest := (SELECT max(e.seq) FROM events e);
    floor := (SELECT f.seq FROM log_floor f);
    last := coalesce(pg_sequence_last_value('events_seq'::regclass), 0);
    horizon := least(last, log_held());
    contradiction := CASE
        WHEN floor IS NULL THEN 'log_floor has no row'
        WHEN last < newest THEN format('the sequence is at %s, behind event %s', last, newest)
        WHEN last < floor THEN format('the floor, %s, is beyond the end of the sequence, %s', floor, last)
    END;
    k := log_key();
    SELECT e.epoch, e.base, coalesce(e.head, e.base)
    INTO log_horizon.epoch, log_horizon.base, log_horizon.head
    FROM epochs e WHERE e.key = k AND e.xid::xid = e.xmin;
END
$$;
-- +goose StatementEnd

-- log_end ends an epoch that the data contradicts, unless it has ended. Its key is free again.
-- +goose StatementBegin
CREATE FUNCTION log_end(contradicted bigint, why text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    k text := log_key();
BEGIN
    UPDATE epochs SET key = epoch || ' ' || key, ended = why WHERE epoch = contradicted AND key = k;
END
$$;
-- +goose StatementEnd

-- log_begin begins the epoch of this life of the database, unless it has begun; the caller holds the lock
-- for it. Without an epoch nobody appends (draw_seq), so once no key is held, what is committed stands
-- still.
--
-- A restore makes the primary key of a table once its rows are there. Where one is missing, or the floor,
-- the restore goes on. Then nothing is decided, and nothing is written, which the restore could run into:
-- FG002.
--
-- The number of the epoch is a time, or more: the caller's clock, above what the caller has seen, above those
-- here. It is not merely the next one: a copy that lacks the latest epoch must not give out its number again.
--
-- The sequence is raised to the greatest number in any table, or new numbers would lie below what readers
-- have passed. Other tables than the log can be ahead of it only where the tables were copied one by one,
-- so they are asked only where the log is another table than before, or was contradicted: it takes some
-- look-ups for each channel.
-- +goose StatementBegin
CREATE FUNCTION log_begin(clock bigint, seen bigint) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
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
            'channels', 'epochs', 'events', 'log_floor', 'members', 'messages', 'wake_lists']) AS t (name)
            ON c.conrelid = to_regclass(t.name) AND c.contype = 'p') < 7 THEN
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
    -- One COPY fills a table, all at once. A snapshot without the members would leave their streams silent.
    IF copied AND (
        EXISTS (SELECT FROM events) AND NOT (EXISTS (SELECT FROM channels) AND EXISTS (SELECT FROM members))
        OR EXISTS (SELECT FROM events WHERE kind = 'message.created') AND NOT EXISTS (SELECT FROM messages)
        OR EXISTS (SELECT FROM channels WHERE wake_version > 0) AND NOT EXISTS (SELECT FROM wake_lists))
    THEN
        RAISE EXCEPTION 'there are events, but no channels, members, messages or wake lists: finish the restore'
            USING ERRCODE = 'FG002';
    END IF;
    IF copied THEN -- what is missing before the first event may have been there
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
