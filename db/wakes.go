package db

import (
	"context"
	"errors"
	"slices"
	"time"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Errors of the wake queue.
var (
	// ErrWakeLost says that no wake of the user has this id: another worker has claimed it since, or it has
	// ended.
	ErrWakeLost = errors.New("the wake is lost")
	// ErrLeaseLimit says that a lease has lasted for the maximum time.
	ErrLeaseLimit = errors.New("the lease has reached its limit")
	// ErrNothingToStop says that no worker of this user has a live lease in this channel.
	ErrNothingToStop = errors.New("nothing to stop")
)

// Bounds of the wake queue.
const (
	maxAttempts  = 5        // exhausted names it too
	leaseLimit   = `1 hour` // after the claim no extension is granted
	fullWidth    = 100      // messages that an attempt may hand out
	wakeBytes    = 1 << 20  // maximum text of the messages of one wake
	scanNumbers  = 2000     // numbers of the event log per page of a scan
	scanPages    = 10       // pages per claim
	scanTime     = time.Second
	scanDistance = 40 // with more numbers per channel, a scan reads channel by channel
	fewChannels  = 8  // with so few, a claim reads them with its first round trip
	occupiedRead = 64 // channels with rows that a claim reads
	newerLooked  = 1000
	choices      = 50 // rows that a claim tries in one transaction
	factsPage    = 500
	dueSoon      = `60 seconds` // a row that was due for longer comes before higher priorities
)

// WakeErrorLength is the maximum length of the error of a nack and the note of an ack, in characters.
const WakeErrorLength = 500

// priorities orders wakes by their strongest reason. A reason that wakes nobody has no priority.
var priorities = map[events.Reason]int16{
	events.Everyone: 1, events.WakeList: 2, events.OnDuty: 3, events.Turn: 4, events.Mention: 5,
	events.Direct: 6,
}

const (
	priorityDirect = 6
	priorityOnDuty = 3 // from this priority on, maxAge does not apply
)

// reasonOf is the inverse of priorities.
func reasonOf(priority int16) events.Reason {
	for reason, p := range priorities {
		if p == priority {
			return reason
		}
	}
	return events.Everyone
}

// A wakeRow is a locked row of wakes, with its channel.
type wakeRow struct {
	UserID      string
	ChannelID   uuid.UUID
	Part        uuid.UUID
	FirstSeq    int64
	LastSeq     int64
	Attempts    int
	Width       int
	ID          *uuid.UUID
	ClaimedUpto *int64
	ClaimedAt   *time.Time
	StoppedBy   *string
	Error       *string
	Ended       bool // it has no live lease
	GuildID     string
	Name        string
	XType       events.XType
	History     string
}

// exhausted is the condition of a row w of wakes that is never handed out again. toBury is that of such a row
// whose last lease has ended: it must be buried.
const (
	exhausted = `(w.attempts >= 5 OR w.stopped_by IS NOT NULL
		OR coalesce(w.first_attempt_at <= clock_timestamp() - interval '24 hours', false))`
	toBury = exhausted + ` AND w.claimed_upto IS NOT NULL
		AND (w.lease_until IS NULL OR w.lease_until <= clock_timestamp())`
)

const selectWake = `
	SELECT w.user_id, w.channel_id, w.part, w.first_seq, w.last_seq, w.attempts, w.width, w.id,
		w.claimed_upto, w.claimed_at, w.stopped_by, w.error,
		coalesce(w.lease_until <= clock_timestamp(), true) AS ended, c.guild_id, c.name, c.x_type, c.history
	FROM wakes w JOIN channels c ON c.id = w.channel_id`

// A wakeFact is what the queue needs of a message to decide. It has no text.
type wakeFact struct {
	ChannelID      uuid.UUID
	GuildID        string
	XType          events.XType
	Seq            int64
	ID             uuid.UUID
	AuthorUserID   string
	MentionUserIDs []string `db:"mention_user_ids"`
	TurnUserID     *string
	TwoState       bool
	OnList         bool // the user is on the wake list that the message recorded
	CreatedAt      events.Time
	Bytes          int
	ByAgent        bool
	Bound          *events.Bound
}

// selectFacts selects the wakeFacts of messages m in channels c for the user $1.
const selectFacts = `
	SELECT m.channel_id, c.guild_id, c.x_type, m.seq, m.id, m.author_user_id, m.mention_user_ids,
		m.turn_user_id, m.two_state,
		` + onList + ` AS on_list,
		m.created_at, octet_length(m.content) AS bytes, m.by_agent, m.bound`

// wakes returns the priority of a message for a user, 0 if the message does not wake the user. Streams decide
// with the same function, events.Facts.Decide.
func (f *wakeFact) wakes(user string) int16 {
	facts := events.Facts{
		XType: f.XType, Author: f.AuthorUserID, Mentioned: slices.Sorted(slices.Values(f.MentionUserIDs)),
		Turn: value(f.TurnUserID), TwoState: f.TwoState, Bound: value(f.Bound),
	}
	if f.OnList {
		facts.WakeList = []string{user}
	}
	outcome, reason := facts.Decide(user)
	if outcome != events.Wake {
		return 0
	}
	return priorities[reason]
}

// owed calls each for the messages of a channel in [from, upTo] that wake the user and are owed. It stops if
// each returns false. A message is owed if it is not deleted, its channel is not archived, and it belongs to
// the user's current interval. After a leave and a return, earlier messages are no longer owed.
func (q Queries) owed(
	ctx context.Context, user string, channel uuid.UUID, from, upTo int64, each func(*wakeFact, int16) bool,
) error {
	const query = selectFacts + `
		FROM channels c
		JOIN members i ON i.channel_id = c.id AND i.user_id = $1 AND i.left_seq IS NULL
		JOIN messages m ON m.channel_id = c.id
		WHERE c.id = $2 AND c.archived_seq IS NULL
			AND m.seq BETWEEN $3 AND $4 AND m.seq >= i.joined_seq AND m.deleted_at IS NULL
			AND m.author_user_id <> $1
		ORDER BY m.seq LIMIT $5`
	for {
		rows, err := q.conn.Query(ctx, query, user, channel, from, upTo, factsPage)
		if err != nil {
			return err
		}
		facts, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[wakeFact])
		if err != nil {
			return err
		}
		for _, f := range facts {
			if p := f.wakes(user); p > 0 && !each(f, p) {
				return nil
			}
		}
		if len(facts) < factsPage {
			return nil
		}
		from = facts[len(facts)-1].Seq + 1
	}
}
