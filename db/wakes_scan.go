package db

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// errEpochMoved says that the database is in another epoch than the position up to which a scan should go.
// The tailer will enter the epoch soon. Until then the position has no meaning.
var errEpochMoved = errors.New("the database is in another epoch than this server's position")

// A consumer is a locked queue of a user.
type consumer struct {
	user       string
	claims     bool  // the transaction is a claim, not only a scan
	err        error // ErrNotFound, errEpochMoved, errChooses: then the rest has no meaning
	scannedSeq int64
	created    bool
	channels   int64 // of the user at the position; counted no further than the choice of a scan needs
	expired    bool  // the event log no longer reaches back to scannedSeq

	// Of the rows that the queue had before this scan:
	due      bool        // one is neither leased nor paused
	occupied []uuid.UUID // their channels, occupiedRead at most

	ahead []*wakeFact // what lookAhead has read, not nil then; complete if the user has fewChannels at most

	// What this transaction has read: the facts of the user's messages in (from, scannedSeq].
	from  int64
	facts []*wakeFact
	found []owedRange // of the facts
}

// A consumerLock says what to do about a queue that another transaction holds.
type consumerLock string

const (
	waitLocked consumerLock = ""
	skipLocked consumerLock = " SKIP LOCKED" // the queue is not found
)

// lockConsumer locks a user's queue, see lockConsumers. ErrNotFound.
func (tx Tx) lockConsumer(
	ctx context.Context, user string, at events.Cursor, locked consumerLock,
) (consumer, error) {
	c := consumer{user: user}
	var b pgx.Batch
	lockConsumers(&b, []*consumer{&c}, at, locked)
	err := tx.conn.SendBatch(ctx, &b).Close()
	return c, cmp.Or(err, c.err)
}

// lockConsumers queues the statements that lock queues, in the order of the list, and read where their scans
// stand. All scans and claims of a user take this lock before they change rows. Afterwards the err of a
// consumer is ErrNotFound if there is no queue, or errEpochMoved. What is read of a queue must come in a
// later statement than the lock, or be of the locked row.
//
// A LATERAL with a LIMIT keeps the order, and a look-up for each user: a planner without statistics would
// read whole tables.
func lockConsumers(b *pgx.Batch, all []*consumer, at events.Cursor, locked consumerLock) {
	const lock = `
		SELECT u.id, q.scanned_seq, log_epoch() FROM unnest($1::text[]) AS u (id)
		CROSS JOIN LATERAL (SELECT q.scanned_seq FROM wake_consumers q WHERE q.user_id = u.id
			LIMIT 1 FOR UPDATE`
	users, byUser := listed(all)
	for _, c := range all {
		c.err = ErrNotFound
	}
	b.Queue(lock+string(locked)+`) q`, users).Query(func(rows pgx.Rows) error {
		var user string
		var scanned, epoch int64
		_, err := pgx.ForEachRow(rows, []any{&user, &scanned, &epoch}, func() error {
			c := byUser[user]
			c.scannedSeq = scanned
			c.err = nil
			if epoch != at.Epoch {
				c.err = errEpochMoved
			}
			return nil
		})
		return err
	})
	b.Queue(distance, users, at.Seq, int64(scanDistance), int64(fewChannels), occupiedRead).
		Query(func(rows pgx.Rows) error {
			var user string
			var d consumer
			_, err := pgx.ForEachRow(rows, []any{&user, &d.channels, &d.expired, &d.due, &d.occupied},
				func() error {
					c := byUser[user]
					c.channels, c.expired, c.due = d.channels, d.expired, d.due
					c.occupied = slices.Clone(d.occupied)
					return nil
				})
			return err
		})
}

// distance reads of the queues of the users $1 what a consumer holds; $2 is the position.
var distance = `
	SELECT u.id, q.channels, q.expired, q.due, q.occupied FROM unnest($1::text[]) AS u (id)
	CROSS JOIN LATERAL (
		SELECT (SELECT count(*) FROM (
				SELECT FROM members WHERE user_id = u.id AND left_seq IS NULL AND joined_seq <= $2
				LIMIT greatest(greatest($2 - q.scanned_seq, 0) / $3, $4) + 1) AS i) AS channels,
			(SELECT seq FROM log_floor) > q.scanned_seq AS expired,
			` + forColumn(hasDue, "$1", "u.id") + ` AS due,
			ARRAY(SELECT w.channel_id FROM wakes w WHERE w.user_id = u.id LIMIT $5) AS occupied
		FROM wake_consumers q WHERE q.user_id = u.id LIMIT 1) q`

// listed returns the users of queues, and the queues by user.
func listed(all []*consumer) (users []string, byUser map[string]*consumer) {
	byUser = make(map[string]*consumer, len(all))
	for _, c := range all {
		users = append(users, c.user)
		byUser[c.user] = c
	}
	return users, byUser
}

// create queues the insert of a missing queue that begins at a number. The lock must come in a later
// statement: the insert's own statement cannot see the row that the insert conflicted with.
func (c *consumer) create(b *pgx.Batch, since int64) {
	const insert = `
		INSERT INTO wake_consumers (user_id, since_seq, scanned_seq) VALUES ($1, $2, $2)
		ON CONFLICT ON CONSTRAINT wake_consumers_pkey DO NOTHING`
	b.Queue(insert, c.user, since).Exec(func(tag pgconn.CommandTag) error {
		c.created = tag.RowsAffected() == 1
		return nil
	})
}

// factsByChannel reads the facts of a page channel by channel: $1 is the user, $2 the number up to which it
// reads, $3 the most facts. It begins where the scan of the user's queue stands.
const factsByChannel = selectFacts + `
		FROM members i
		CROSS JOIN LATERAL (SELECT c.x_type, c.guild_id FROM channels c
			WHERE c.id = i.channel_id AND c.archived_seq IS NULL LIMIT 1) c
		CROSS JOIN LATERAL (SELECT m.* FROM messages m
			WHERE m.channel_id = i.channel_id
				AND m.seq > (SELECT q.scanned_seq FROM wake_consumers q WHERE q.user_id = $1)
				AND m.seq >= i.joined_seq AND m.seq <= $2 AND m.deleted_at IS NULL AND m.author_user_id <> $1
			ORDER BY m.seq LIMIT $3) m
		WHERE i.user_id = $1 AND i.left_seq IS NULL`

// lookAhead queues the read of a page channel by channel, for the users in fewChannels at most. It saves the
// round trip of queueUnscanned. It must come after lockConsumers, which has counted the channels before; a
// membership at or below the position cannot begin later, so if lockConsumers has counted fewChannels at
// most, lookAhead has read all of them.
func lookAhead(b *pgx.Batch, all []*consumer, at events.Cursor) {
	users, byUser := listed(all)
	b.Queue(ahead, users, at.Seq, scanNumbers, int64(fewChannels)).Query(func(rows pgx.Rows) error {
		type fact struct {
			UserID string
			wakeFact
		}
		facts, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[fact])
		for _, c := range all {
			c.ahead = []*wakeFact{}
		}
		for _, f := range facts {
			c := byUser[f.UserID]
			c.ahead = append(c.ahead, &f.wakeFact)
		}
		return err
	})
}

var ahead = `
	SELECT u.id AS user_id, m.* FROM unnest($1::text[]) AS u (id)
	CROSS JOIN LATERAL (` + forColumn(factsByChannel, "$1", "u.id") + `
			AND (SELECT count(*) FROM (SELECT FROM members f
				WHERE f.user_id = u.id AND f.left_seq IS NULL AND f.joined_seq <= $2 LIMIT $4 + 1) AS f) <= $4
		ORDER BY m.seq LIMIT $3) m`

// forColumn returns SQL for each user of a column, from SQL for the one user of a parameter.
func forColumn(sql, parameter, column string) string {
	return strings.ReplaceAll(sql, parameter, column)
}

// unsynced lets the transaction commit without waiting for the disk. A crash may undo a claim: what the claim
// handed out is handed out again.
const unsynced = `SELECT set_config('synchronous_commit', 'off', true)`

func (tx Tx) unsynced(ctx context.Context) error {
	_, err := tx.conn.Exec(ctx, unsynced)
	return err
}

// owedRange is what a page of a scan found in one channel.
type owedRange struct {
	channel     uuid.UUID
	guild       string
	first, last int64
	firstAt     events.Time
	priority    int16
	human       bool
}

// read queues the read of the next page of messages for a locked consumer, up to the position at. It never
// goes beyond the position, because a writer with a smaller number may still be open there. write must
// follow.
//
// A page is a range of numbers, read for all of the user's channels. scanned_seq never passes a number below
// which a channel is unread.
func (c *consumer) read(b *pgx.Batch, at events.Cursor) {
	c.from = c.scannedSeq
	switch {
	case c.from >= at.Seq:
	case c.ahead != nil && c.channels <= fewChannels:
		c.take(c.ahead, at.Seq)
	default:
		c.queueUnscanned(b, at.Seq)
	}
}

// take takes the facts of a page that was read up to a number.
func (c *consumer) take(facts []*wakeFact, upTo int64) {
	c.facts = facts
	c.found = ranges(c.user, facts)
	c.scannedSeq = upTo
	if n := len(facts); n == scanNumbers {
		c.scannedSeq = facts[n-1].Seq // messages beyond the last number of a full page may be unread
	}
}

// write queues what a page that was read changes. done says that it has reached the position at.
func (c *consumer) write(b *pgx.Batch, at events.Cursor) (done bool) {
	const move = `
		UPDATE wake_consumers SET scanned_seq = greatest(scanned_seq, $2),
			claimed_at = CASE WHEN $3 THEN clock_timestamp() ELSE claimed_at END
		WHERE user_id = $1`
	queueOwed(b, c.user, c.found)
	if c.from < at.Seq || c.claims {
		b.Queue(move, c.user, c.scannedSeq, c.claims)
	}
	return c.scannedSeq >= at.Seq
}

// owed is Queries.owed for a row of the queue. If the scan of this transaction has read the whole row, owed
// does not read it again.
func (c *consumer) owed(ctx context.Context, tx Tx, row *wakeRow, each func(*wakeFact, int16) bool) error {
	if row.FirstSeq <= c.from {
		return tx.owed(ctx, c.user, row.ChannelID, row.FirstSeq, row.LastSeq, each)
	}
	for _, f := range c.facts {
		if f.ChannelID != row.ChannelID || f.Seq < row.FirstSeq || f.Seq > row.LastSeq {
			continue
		}
		if p := f.wakes(c.user); p > 0 && !each(f, p) {
			return nil
		}
	}
	return nil
}

// queueUnscanned queues the read of the facts of one page. A scan along the event log costs as much as
// everybody posted. A scan channel by channel costs as much as the user has channels. It does not need the
// event log, so retention never removes a wake.
func (c *consumer) queueUnscanned(b *pgx.Batch, upTo int64) {
	// LIMIT 1 keeps these look-ups: a planner without statistics would read whole tables.
	const alongTheLog = selectFacts + `
		FROM (SELECT e.seq, e.message_id, e.channel_id FROM events e
			WHERE e.seq > $2 AND e.seq <= $3 AND e.kind = 'message.created' AND e.user_id <> $1
			ORDER BY e.seq LIMIT $4) e
		CROSS JOIN LATERAL (SELECT i.joined_seq FROM members i
			WHERE i.channel_id = e.channel_id AND i.user_id = $1 AND i.left_seq IS NULL LIMIT 1) i
		CROSS JOIN LATERAL (SELECT c.x_type, c.guild_id FROM channels c
			WHERE c.id = e.channel_id AND c.archived_seq IS NULL LIMIT 1) c
		CROSS JOIN LATERAL (SELECT m.* FROM messages m WHERE m.id = e.message_id AND m.deleted_at IS NULL
		LIMIT 1) m
		WHERE e.seq >= i.joined_seq
		ORDER BY m.seq`
	const byChannel = factsByChannel + ` ORDER BY m.seq LIMIT $3`
	far := upTo - c.scannedSeq
	query := alongTheLog
	reached := min(upTo, c.scannedSeq+scanNumbers)
	args := []any{c.user, c.scannedSeq, reached, scanNumbers}
	if c.expired || far > scanDistance*c.channels {
		query = byChannel
		reached = upTo
		args = []any{c.user, reached, scanNumbers}
	}
	b.Queue(query, args...).Query(func(rows pgx.Rows) error {
		facts, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[wakeFact])
		c.take(facts, reached)
		return err
	})
}

// ranges groups the facts that wake the user by channel.
func ranges(user string, facts []*wakeFact) []owedRange {
	var found []owedRange
	at := map[uuid.UUID]int{}
	for _, f := range facts {
		priority := f.wakes(user)
		if priority == 0 {
			continue
		}
		i, ok := at[f.ChannelID]
		if !ok {
			i = len(found)
			at[f.ChannelID] = i
			found = append(found, owedRange{
				channel: f.ChannelID, guild: f.GuildID, first: f.Seq, firstAt: f.CreatedAt,
			})
		}
		r := &found[i]
		r.last = f.Seq
		r.priority = max(r.priority, priority)
		r.human = r.human || !f.ByAgent
	}
	// All transactions that write several rows must write them in the same order, so that none deadlocks.
	slices.SortFunc(found, func(a, b owedRange) int { return slices.Compare(a.channel[:], b.channel[:]) })
	return found
}

// queueOwed adds ranges to the user's queue. A message by a human ends the pause of its channel and takes one
// attempt back: it brings new information, so another attempt is worthwhile. Without a counted attempt no day
// has begun after which the row is dead.
func queueOwed(b *pgx.Batch, user string, found []owedRange) {
	if len(found) == 0 {
		return
	}
	const upsert = `
		INSERT INTO wakes AS w (user_id, channel_id, first_seq, last_seq, first_at, priority, rest_priority)
		SELECT $1, u.channel_id, u.first_seq, u.last_seq, u.first_at, u.priority, u.priority
		FROM unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::smallint[])
			AS u (channel_id, first_seq, last_seq, first_at, priority)
		ON CONFLICT ON CONSTRAINT wakes_pkey DO UPDATE
			SET last_seq = greatest(w.last_seq, EXCLUDED.last_seq),
				priority = greatest(w.priority, EXCLUDED.priority),
				rest_priority = greatest(w.rest_priority, EXCLUDED.priority),
				rest_at = coalesce(w.rest_at, EXCLUDED.first_at),
				not_before = CASE WHEN w.channel_id = ANY ($7) AND w.attempts < $8
					THEN NULL ELSE w.not_before END,
				attempts = CASE WHEN w.channel_id = ANY ($7) AND w.attempts < $8
					THEN greatest(w.attempts - 1, 0) ELSE w.attempts END,
				first_attempt_at = CASE WHEN w.channel_id = ANY ($7) AND w.attempts <= 1
					THEN NULL ELSE w.first_attempt_at END`
	var channels []uuid.UUID
	humans := []uuid.UUID{} // channels with a message by a human
	var firsts, lasts []int64
	var times []time.Time
	var strongest []int16
	for _, r := range found {
		channels = append(channels, r.channel)
		firsts = append(firsts, r.first)
		lasts = append(lasts, r.last)
		times = append(times, r.firstAt.Time)
		strongest = append(strongest, r.priority)
		if r.human {
			humans = append(humans, r.channel)
		}
	}
	b.Queue(upsert, user, channels, firsts, lasts, times, strongest, humans, maxAttempts)
}
