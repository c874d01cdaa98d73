-- The wake queue: which user works on which messages. The event log is the queue, and posting writes nothing
-- here. wakes has a row only for a channel in which a message is owed or claimed. The rules are in
-- events/README.md, section "Rules of the wake queue".

-- +goose Up

-- One row per user with a queue. It is a cursor over the messages that streams read.
CREATE TABLE wake_consumers (
    user_id     text        NOT NULL CONSTRAINT wake_consumers_pkey PRIMARY KEY,
    since_seq   bigint      NOT NULL,
    scanned_seq bigint      NOT NULL,
    claimed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT wake_consumers_scanned CHECK (scanned_seq >= since_seq)
);
COMMENT ON COLUMN wake_consumers.since_seq IS 'where the queue began: earlier messages are unmanaged';
COMMENT ON COLUMN wake_consumers.scanned_seq IS 'every message up to here that was owed is in wakes';

-- The messages in [first_seq, last_seq] of a channel that wake the user and that no worker has finished.
CREATE TABLE wakes (
    user_id          text        NOT NULL,
    channel_id       uuid        NOT NULL,
    part             uuid        NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    first_seq        bigint      NOT NULL,
    last_seq         bigint      NOT NULL,
    first_at         timestamptz NOT NULL,
    priority         smallint    NOT NULL,
    rest_priority    smallint    NOT NULL,
    attempts         integer     NOT NULL DEFAULT 0,
    first_attempt_at timestamptz,
    not_before       timestamptz,
    error            text,
    width            integer     NOT NULL DEFAULT 100,
    id               uuid        CONSTRAINT wakes_id_unique UNIQUE,
    claimed_upto     bigint,
    claimed_at       timestamptz,
    lease_until      timestamptz,
    worker           text,
    instance         text,
    status           text,
    stopped_by       text,
    CONSTRAINT wakes_pkey PRIMARY KEY (user_id, channel_id, part),
    CONSTRAINT wakes_range CHECK (first_seq <= last_seq)
);
COMMENT ON COLUMN wakes.part IS 'zeros: the scan found it; otherwise the id of a dead wake that is retried';
COMMENT ON COLUMN wakes.priority IS 'of the strongest reason in the range; rest_priority: in the part beyond claimed_upto';
COMMENT ON COLUMN wakes.attempts IS 'of the oldest message; reset, like first_attempt_at, error and width, when first_seq moves';
COMMENT ON COLUMN wakes.width IS 'how many messages an attempt may hand out';
COMMENT ON COLUMN wakes.id IS 'the lease; each claim makes a new UUIDv7';
-- The sweeper looks for these rows.
CREATE INDEX wakes_leased ON wakes (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX wakes_tried ON wakes (first_attempt_at) WHERE first_attempt_at IS NOT NULL;

-- Ranges that are not handed out again, unless the user retries them. A hidden row stays, because deliveries
-- need the range.
CREATE TABLE wakes_dead (
    id         uuid        NOT NULL CONSTRAINT wakes_dead_pkey PRIMARY KEY,
    user_id    text        NOT NULL,
    channel_id uuid        NOT NULL,
    first_seq  bigint      NOT NULL,
    last_seq   bigint      NOT NULL,
    attempts   integer     NOT NULL,
    outcome    text        NOT NULL CONSTRAINT wakes_dead_outcome_known
                           CHECK (outcome IN ('dead', 'declined', 'stopped', 'expired')),
    note       text,
    error      text,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    hidden     boolean     NOT NULL DEFAULT false
);
CREATE INDEX wakes_dead_of_user ON wakes_dead (user_id, channel_id, first_seq);

-- The instances of each worker that have claimed. A claim of a new instance takes over the leases of the
-- others.
CREATE TABLE wake_workers (
    user_id  text        NOT NULL,
    worker   text        NOT NULL,
    instance text        NOT NULL,
    seen_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT wake_workers_pkey PRIMARY KEY (user_id, worker, instance)
);
CREATE INDEX wake_workers_age ON wake_workers (seen_at);
