-- The event log and its append protocol. The rules, and the fault that each rule prevents, are in
-- events/README.md ("Rules of the event log"). The readers' half is in db/log.go.

-- +goose Up

-- CACHE must be 1. A backend that reserves numbers would hand out small numbers after larger ones were read.
-- MAXVALUE keeps the numbers within the bits that a lock's key has for them (draw_seq). A lock for a greater
-- number would hold nothing.
CREATE SEQUENCE events_seq AS bigint MAXVALUE 140737488355327 CACHE 1;
-- pg_sequence_last_value is NULL until the first draw.
SELECT nextval('events_seq');

-- An epoch is one life of the database.
CREATE TABLE epochs (
    epoch      bigint      NOT NULL CONSTRAINT epochs_pkey PRIMARY KEY,
    key        text        NOT NULL CONSTRAINT epochs_key_unique UNIQUE,
    base       bigint      NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    xid        xid8        NOT NULL DEFAULT pg_current_xact_id(),
    head       bigint,
    ended      text
);
COMMENT ON COLUMN epochs.key IS 'identifies this life of the database: see log_key';
COMMENT ON COLUMN epochs.base IS 'older cursors at or below it are honoured; usually equal to head, 0 if nothing is known about older cursors';
COMMENT ON COLUMN epochs.xid IS 'the transaction that wrote the row; a row that a dump brought back has another xmin, and does not count';
COMMENT ON COLUMN epochs.head IS 'the greatest committed number when the epoch began, where reading continues; NULL: base';
COMMENT ON COLUMN epochs.ended IS 'how the data contradicted the epoch; NULL: it did not';

-- Retention may have removed the events at or below the floor. The table has one row.
CREATE TABLE log_floor (
    only_row boolean NOT NULL DEFAULT true CONSTRAINT log_floor_pkey PRIMARY KEY CONSTRAINT log_floor_one CHECK (only_row),
    seq      bigint  NOT NULL
);
INSERT INTO log_floor (seq) VALUES (0);

-- log_tag returns the top bits of every advisory lock of the event log. It is a constant of this schema, so
-- that neither the locks of another application nor the event log of another schema can hold our horizon
-- down. The migration bakes the constant in: a hash may change with the server's version, but readers and
-- writers must agree.
-- +goose StatementBegin
DO $do$
BEGIN
    EXECUTE format(
        'CREATE FUNCTION log_tag() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $f$ SELECT %s::bigint $f$',
        1 + (hashtext('fabric-guild/' || current_schema()) & 16383));
END
$do$;
-- +goose StatementEnd

-- log_key returns the key of the epoch that the database is in. The key has two parts.
--
-- The first part is true for as long as the server process lives: system identifier, timeline, start of the
-- postmaster, oid of the database. A process serves one life of the cluster: until a promotion, the standby's
-- process gets an error from pg_walfile_name. So the first part may stay in the session, whichever client a
-- pooler gives the session to next. The timeline alone is not enough: two standbys that are promoted
-- separately share it. A cold copy shares everything but the start.
--
-- The second part is the table events itself. Each call reads it: a restore gives the table another oid,
-- TRUNCATE gives it another file. VACUUM FULL gives it another file too. But VACUUM FULL waits for every
-- transaction that has appended, and lets nobody append meanwhile. So the new epoch's base is exact, and no
-- stream is reset.
--
-- pg_walfile_name raises an error on a standby. A standby must neither append nor be tailed.
-- +goose StatementBegin
CREATE FUNCTION log_key() RETURNS text LANGUAGE plpgsql STABLE AS $$
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

-- log_epoch returns the current epoch. It raises FG001 if this life of the database has none: an epoch must
-- be written down before its first append. It reads the table once per transaction, because the database
-- cannot begin a new life within one. It is VOLATILE, so that it sees an epoch that was written after the
-- calling statement began.
-- +goose StatementBegin
CREATE FUNCTION log_epoch() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
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

-- draw_seq takes the lock that holds the horizon down, and then the number. The order matters: the lock's key
-- is the last number that was handed out, so it is below every number drawn from here on. The lock is shared:
-- writers never wait for each other.
--
-- pg_sequence_last_value reads under the lock of the buffer. Selecting last_value from the sequence can show
-- the pre-logged value, up to 32 in the future.
--
-- draw_seq checks the epoch under the lock. So if a transaction ends an epoch and then finds no lock held,
-- nobody draws in that epoch any more.
-- +goose StatementBegin
CREATE FUNCTION draw_seq() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(
        (log_tag() << 47) | coalesce(pg_sequence_last_value('events_seq'::regclass), 0));
    PERFORM log_epoch();
    RETURN nextval('events_seq');
END
$$;
-- +goose StatementEnd

-- The event log has one row per event, however many users hear it. There are no foreign keys: checking one
-- would lock the channel's row in every post, and cost a fifth of the throughput.
--
-- Retention deletes a small part of the old end of the table each day. Only a vacuum makes that space usable
-- again, so autovacuum must not wait until a fifth of the table is dead. The file is never truncated, because
-- truncating would lock out writers. The event log grows into the space again.
CREATE TABLE events (
    seq           bigint      NOT NULL DEFAULT draw_seq() CONSTRAINT events_pkey PRIMARY KEY,
    kind          text        NOT NULL,
    channel_id    uuid        NOT NULL,
    user_id       text        NOT NULL,
    message_id    uuid,
    occurred_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    reason        text,
    admin_user_id text,
    old_name      text
) WITH (autovacuum_vacuum_scale_factor = 0.05, vacuum_truncate = off);
COMMENT ON COLUMN events.user_id IS 'the user whom the event is about: the author, the member, or the user who renamed';
COMMENT ON COLUMN events.reason IS 'turn.changed: what changed the turn';
COMMENT ON COLUMN events.admin_user_id IS 'messages in triage: the user who hears the event as the admin, member or not';
COMMENT ON COLUMN events.old_name IS 'channel.updated by a rename: the name until then';
CREATE INDEX events_of_admin ON events (admin_user_id, seq) WHERE admin_user_id IS NOT NULL;
-- With this index and messages_history, a member of few channels finds what they missed without reading what
-- other channels said. Posts are most of the event log. They are not in this index and do not pay for it.
CREATE INDEX events_of_channel ON events (channel_id, seq) WHERE kind <> 'message.created';
-- A rename's event keeps the name that it replaced. So the name of a channel as of any place in the event log
-- is that of the first rename after the place. The name goes when its event goes. By then nobody can ask for
-- an older place.
CREATE INDEX events_renames ON events (channel_id, seq) WHERE old_name IS NOT NULL;

-- log_held returns the smallest key that a writer holds. It returns NULL if no writer holds one.
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

-- log_horizon is the readers' half of draw_seq. Every number at or below horizon is committed, or will never
-- exist.
--
-- It reads the last number that was handed out, and in a later statement the smallest key that is still held.
-- A writer that drew a number up to last either still holds a smaller key, or has ended. In the second case
-- the next statement sees how it ended. The function is VOLATILE, so that each statement takes a new
-- snapshot.
--
-- epoch, base and head are NULL in a life of the database that has no epoch yet. contradiction says why these
-- tables cannot belong to this sequence. It is NULL if they can. What is committed is read before the last
-- number, so that a number that is drawn in between is no contradiction. Reading events first also keeps a
-- TRUNCATE or a restore from coming between the horizon and the rows of one transaction.
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

-- log_end ends an epoch that the data contradicts, unless it has ended already. Its key becomes free.
-- +goose StatementBegin
CREATE FUNCTION log_end(contradicted bigint, why text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    k text := log_key();
BEGIN
    UPDATE epochs SET key = epoch || ' ' || key, ended = why WHERE epoch = contradicted AND key = k;
END
$$;
-- +goose StatementEnd

-- log_begin begins the epoch of this life of the database, unless it has begun. The caller must hold
-- lockEpoch. Nobody appends without an epoch (draw_seq). So once no key is held, the set of committed rows
-- does not change.
--
-- A restore creates the primary key of a table after it has loaded the table's rows. If a primary key or the
-- row of log_floor is missing, the restore is still running. Then log_begin raises FG002. It decides nothing
-- and writes nothing, because a row that it wrote could make the restore fail.
--
-- The number of the epoch is the caller's clock, or more: it is above what the caller has seen, and above the
-- epochs in the table. It is not simply the next number: a copy of the database that lacks the latest epoch
-- must not hand out that epoch's number again.
--
-- log_begin raises the sequence to the greatest number in any table. Otherwise new numbers would lie below
-- what readers have passed. Other tables can be ahead of the event log only if the tables were copied one by
-- one. So log_begin reads them only if events is another table than before, or if the data contradicted the
-- last epoch: reading them takes some look-ups for each channel.
--
-- A new table that holds rows of the guild belongs in the list of primary keys. A new table with numbers of
-- events belongs in the calculation of top.
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
