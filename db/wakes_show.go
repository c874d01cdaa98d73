package db

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// A ShownWake is what the worker sees of a wake that it has claimed.
type ShownWake struct {
	Channel  Channel         // as the worker sees it
	Messages []StoredMessage // those that were handed out, oldest first
	Latest   []StoredMessage // the latest up to the scan, newest first, Messages among them
	Own      []StoredMessage // the worker's own from after the scan, newest first
}

// ShowWake reads what a claim's answer shows, in one round trip. around is how many messages besides those that
// were handed out. Latest ends early, once its texts have this number of bytes.
func (q Queries) ShowWake(
	ctx context.Context, user string, w *Wake, around, bytes int,
) (s ShownWake, err error) {
	const own = `
		WHERE m.channel_id = $2 AND m.seq > $3 AND m.author_user_id = $1 ORDER BY m.seq DESC LIMIT $4`
	history := History{
		Channel: w.Channel.ID, User: user, All: w.Channel.History == "all", Before: w.Scanned + 1,
		Limit: around + len(w.Messages),
	}
	latest, args := history.query()
	collect := func(to *[]StoredMessage) func(pgx.Rows) error {
		return func(rows pgx.Rows) (err error) {
			*to, err = pgx.CollectRows(rows, scanMessage)
			return err
		}
	}
	var b pgx.Batch
	b.Queue(plannedOnce)
	b.Queue(selectChannel, w.Channel.ID, user).Query(func(rows pgx.Rows) (err error) {
		s.Channel, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Channel])
		return err
	})
	b.Queue(selectMessagesAt, user, w.Channel.ID, w.Messages).Query(collect(&s.Messages))
	b.Queue(latest, args...).Query(func(rows pgx.Rows) error {
		size := 0
		return eachMessage(rows, func(m StoredMessage) bool {
			s.Latest = append(s.Latest, m)
			size += len(m.Content)
			return size < bytes
		})
	})
	b.Queue(selectMessage+own, user, w.Channel.ID, w.Scanned, around).Query(collect(&s.Own))
	return s, sentinel(q.conn.SendBatch(ctx, &b).Close())
}
