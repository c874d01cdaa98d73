package db

import (
	"context"
	"sync/atomic"
	"time"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A WorkChange says that the state of a user's work on the messages in [First, Upto] of a channel may have
// changed, in a transaction that is committed. Whoever wants to know the state reads it with Working.
type WorkChange struct {
	User        string
	Channel     uuid.UUID
	First, Upto int64
}

// workWatch gets the changes that this server commits.
type workWatch struct {
	changed atomic.Pointer[func(WorkChange)]
}

// OnWork sets the function that gets every WorkChange of this server. The function must not block. Without it
// they are dropped.
func (w *workWatch) OnWork(changed func(WorkChange)) { w.changed.Store(&changed) }

func (w *workWatch) tell(changes ...WorkChange) {
	changed := w.changed.Load()
	if changed == nil {
		return
	}
	for _, c := range changes {
		(*changed)(c)
	}
}

// working notes that the work of a row on the messages in [first, upto] changes. The commit tells it.
func (tx Tx) working(row *wakeRow, first, upto int64) {
	*tx.work = append(*tx.work, WorkChange{row.UserID, row.ChannelID, first, upto})
}

// Work is the work of a user on messages that have one state.
type Work struct {
	Channel  Channel         // as the worker sees it
	Messages []StoredMessage // oldest first, with their wake lists
	State    WakeState
}

// Working returns the work that a change is about, as it stands now: at most 100 messages, by their state.
// Messages that are not owed have no state.
func (q Queries) Working(ctx context.Context, c WorkChange) ([]Work, error) {
	var seqs []int64
	var users []string
	err := q.owed(ctx, c.User, c.Channel, c.First, c.Upto, func(f *wakeFact, _ int16) bool {
		seqs = append(seqs, f.Seq)
		users = append(users, c.User)
		return len(seqs) < fullWidth
	})
	if err != nil || len(seqs) == 0 {
		return nil, sentinel(err)
	}
	states, err := q.WakeStates(ctx, c.Channel, seqs, users)
	if err != nil {
		return nil, err
	}
	type standing struct{ state, status string }
	var order []WakeState
	alike := map[standing][]int64{}
	for i, s := range states {
		key := standing{s.State, value(s.Status)}
		if s.State == "" {
			continue
		}
		if alike[key] == nil {
			order = append(order, s)
		}
		alike[key] = append(alike[key], seqs[i])
	}
	var all []Work
	for _, s := range order {
		w, err := q.workAt(ctx, c, alike[standing{s.State, value(s.Status)}])
		if err != nil {
			return nil, sentinel(err)
		}
		w.State = s
		all = append(all, w)
	}
	return all, nil
}

// workAt returns the messages at some numbers of a channel.
func (q Queries) workAt(ctx context.Context, c WorkChange, seqs []int64) (w Work, err error) {
	if w.Channel, err = q.Channel(ctx, c.Channel, c.User); err != nil {
		return w, err
	}
	if w.Messages, err = q.MessagesAt(ctx, c.Channel, c.User, seqs); err != nil ||
		w.Channel.XType != events.Triage {
		return w, err
	}
	lists := map[int][]string{}
	for i := range w.Messages {
		m := &w.Messages[i]
		if _, known := lists[m.WakeVersion]; !known {
			if lists[m.WakeVersion], err = q.WakeListAt(ctx, c.Channel, m.WakeVersion); err != nil {
				return w, err
			}
		}
		m.WakeList = lists[m.WakeVersion]
	}
	return w, nil
}

// firstLook is how far back LeasesEnded looks first.
const firstLook = 10 * time.Second

// LeasesEnded returns the work whose leases have ended by themselves after a time of Postgres' clock (zero:
// ten seconds ago), 1,000 at most, and the time up to which it has looked. The end of a lease is no
// transaction, so nobody tells it.
func (q Queries) LeasesEnded(
	ctx context.Context, since time.Time,
) (ended []WorkChange, upTo time.Time, err error) {
	const query = `
		SELECT user_id, channel_id, first_seq, claimed_upto FROM wakes
		WHERE lease_until > $1 AND lease_until <= $2 AND claimed_upto IS NOT NULL
		ORDER BY lease_until LIMIT 1000`
	if upTo, err = q.now(ctx); err != nil {
		return nil, since, sentinel(err)
	}
	if since.IsZero() {
		since = upTo.Add(-firstLook)
	}
	rows, err := q.conn.Query(ctx, query, since, upTo)
	if err != nil {
		return nil, since, sentinel(err)
	}
	ended, err = pgx.CollectRows(rows, pgx.RowToStructByPos[WorkChange])
	return ended, upTo, sentinel(err)
}
