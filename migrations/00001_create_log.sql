-- The log and its append protocol. The rules and the fault that each of them prevents are told beside
-- the functions; the readers' half is in db/log.go.

-- +goose Up

-- CACHE 1: a backend that holds numbers back would give out small ones after larger ones were read.
CREATE SEQUENCE events_seq AS bigint CACHE 1;
-- pg_sequence_last_value is NULL until the first draw.
SELECT nextval('events_seq');

-- The top bits of every advisory lock of the log: a constant of this schema, so that neither another
-- application's locks nor another schema's log can pin our horizon. It is baked in, because a hash may
-- change with the server's version while readers and writers must agree.
-- +goose StatementBegin
DO $do$
BEGIN
    EXECUTE format(
        'CREATE FUNCTION log_tag() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $f$ SELECT %s::bigint $f$',
        1 + (hashtext('fabric-guild/' || current_schema()) & 16383));
END
$do$;
-- +goose StatementEnd

-- What distinguishes one life of a database from another: the cluster, its timeline, the start of its
-- postmaster. Two standbys promoted apart share a timeline; a cold copy shares all but the start.
-- pg_walfile_name raises an error on a standby, which must neither append nor be tailed.
-- +goose StatementBegin
CREATE FUNCTION log_key() RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT system_identifier FROM pg_control_system())
        || '/' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
        || '/' || extract(epoch FROM pg_postmaster_start_time());
END
$$;
-- +goose StatementEnd

-- An epoch is one life of the log. base is the greatest number that was committed before it began:
-- older cursors at or below it are honoured, those beyond it belong to a tail that was lost.
CREATE TABLE epochs (
    epoch      bigint      NOT NULL CONSTRAINT epochs_pkey PRIMARY KEY,
    key        text        NOT NULL CONSTRAINT epochs_key_unique UNIQUE,
    base       bigint      NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- A new life of the database must be written down before its first append; FG001 says that it is not yet.
-- VOLATILE, so that it sees what was written down after the calling statement began.
-- +goose StatementBegin
CREATE FUNCTION log_epoch() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    e bigint := (SELECT epoch FROM epochs WHERE key = log_key());
BEGIN
    IF e IS NULL THEN
        RAISE EXCEPTION 'this life of the database has no epoch yet' USING ERRCODE = 'FG001';
    END IF;
    RETURN e;
END
$$;
-- +goose StatementEnd

-- draw_seq takes the lock that holds the horizon down, then the number, in this order: the lock's key
-- is the last number given out, so it is below every number that is drawn from here on. The lock is
-- shared: writers never wait for one another. pg_sequence_last_value reads under the buffer's lock;
-- selecting last_value from the sequence can show the pre-logged value, up to 32 in the future.
-- +goose StatementBegin
CREATE FUNCTION draw_seq() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM log_epoch();
    PERFORM pg_advisory_xact_lock_shared((log_tag() << 47) | pg_sequence_last_value('events_seq'::regclass));
    RETURN nextval('events_seq');
END
$$;
-- +goose StatementEnd

-- The log: one row per event, however many hear it. No foreign keys: checking one would lock a
-- channel's row in every post (a fifth of the throughput).
CREATE TABLE events (
    seq         bigint      NOT NULL DEFAULT draw_seq() CONSTRAINT events_pkey PRIMARY KEY,
    kind        text        NOT NULL,
    channel_id  uuid        NOT NULL,
    user_id     text        NOT NULL,
    message_id  uuid,
    occurred_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN events.user_id IS 'who it is about: the author, the member, the one who renamed';

-- Events at or below the floor may be gone. One row.
CREATE TABLE log_floor (
    only_row boolean NOT NULL DEFAULT true CONSTRAINT log_floor_pkey PRIMARY KEY CONSTRAINT log_floor_one CHECK (only_row),
    seq      bigint  NOT NULL
);
INSERT INTO log_floor (seq) VALUES (0);

-- log_horizon is the readers' half: every number at or below horizon is committed or gone for good.
-- First the last number given out, then, in a later statement, the smallest key still held: a writer
-- that drew a number up to last either still holds a smaller key, or its fate is visible to whatever
-- statement comes next. VOLATILE, so that each statement sees anew. epoch is NULL in a life of the
-- database that has no epoch yet.
-- +goose StatementBegin
CREATE FUNCTION log_horizon(OUT last bigint, OUT horizon bigint, OUT epoch bigint, OUT base bigint)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    held bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the log is read in READ COMMITTED only, not in %', current_setting('transaction_isolation');
    END IF;
    last := pg_sequence_last_value('events_seq'::regclass);
    held := (
        SELECT min(((l.classid::bigint << 32) | l.objid::bigint) & 140737488355327)
        FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.objsubid = 1
          AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
          AND l.classid::bigint >> 15 = log_tag());
    horizon := least(last, held);
    SELECT e.epoch, e.base INTO log_horizon.epoch, log_horizon.base FROM epochs e WHERE e.key = log_key();
END
$$;
-- +goose StatementEnd
