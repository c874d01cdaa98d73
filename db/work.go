package db

import (
	"context"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Work is what the lease of a wake covers, for those who watch.
type Work struct {
	Channel  Channel         // as the worker sees it
	Messages []StoredMessage // those that the lease handed out, oldest first, with their wake lists
}

// Working returns the work that a wake's lease covers now. ErrWakeLost: no wake of the user has this id.
func (q Queries) Working(ctx context.Context, ref WakeRef) (Work, error) {
	const query = `
		SELECT w.channel_id, w.first_seq, w.claimed_upto FROM wakes w JOIN channels c ON c.id = w.channel_id
		WHERE w.id = $1 AND w.user_id = $2 AND w.claimed_upto IS NOT NULL AND ($3::text[] IS NULL OR c.guild_id = ANY ($3))`
	var channel uuid.UUID
	var first, last int64
	err := q.conn.QueryRow(ctx, query, ref.ID, ref.User, ref.Guilds).Scan(&channel, &first, &last)
	if err == pgx.ErrNoRows {
		return Work{}, ErrWakeLost
	}
	if err != nil {
		return Work{}, sentinel(err)
	}
	var seqs []int64
	err = q.owed(ctx, ref.User, channel, first, last, func(f *wakeFact, _ int16) bool {
		seqs = append(seqs, f.Seq)
		return len(seqs) < fullWidth
	})
	if err != nil {
		return Work{}, sentinel(err)
	}
	return q.WorkAt(ctx, channel, ref.User, seqs)
}

// WorkAt returns the work of a user on the messages at some numbers of a channel.
func (q Queries) WorkAt(ctx context.Context, channel uuid.UUID, user string, seqs []int64) (w Work, err error) {
	if w.Channel, err = q.Channel(ctx, channel, user); err != nil {
		return w, err
	}
	if w.Messages, err = q.MessagesAt(ctx, channel, user, seqs); err != nil {
		return w, err
	}
	return w, q.ListWork(ctx, &w)
}

// ListWork adds their wake lists to the messages of w.
func (q Queries) ListWork(ctx context.Context, w *Work) (err error) {
	if w.Channel.XType != events.Triage {
		return nil
	}
	lists := map[int][]string{}
	for i := range w.Messages {
		m := &w.Messages[i]
		if _, known := lists[m.WakeVersion]; !known {
			if lists[m.WakeVersion], err = q.WakeListAt(ctx, w.Channel.ID, m.WakeVersion); err != nil {
				return err
			}
		}
		m.WakeList = lists[m.WakeVersion]
	}
	return nil
}
