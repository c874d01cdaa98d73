package db

import (
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A ShownWake is what the worker sees of a wake that it has claimed.
type ShownWake struct {
	Channel  Channel         // as the worker sees it
	Messages []StoredMessage // those that were handed out, oldest first
	// the latest others up to the scan, and the worker's own from after it, newest first
	Around []StoredMessage
	Last   *uuid.UUID // the latest message up to the scan
}

const aroundBytes = 256 << 10 // the texts in ShownWake.Around

// queueShown reads the messages that the worker sees, in one statement. around is how many messages it shows
// besides those that are handed out.
func (w *Wake) queueShown(b *pgx.Batch, row *wakeRow, scanned int64, around int) {
	const query = ` WHERE m.id = ANY (ARRAY(` + historyIDs + `
			UNION ALL
			(SELECT a.id FROM messages a
			WHERE a.channel_id = $2 AND a.seq >= $4 AND a.author_user_id = $1
			ORDER BY a.seq DESC LIMIT $7)
			UNION ALL
			SELECT (SELECT a.id FROM messages a WHERE a.channel_id = $2 AND a.seq = s)
			FROM unnest($8::bigint[]) AS s))
		ORDER BY m.seq DESC`
	history := History{
		Channel: row.ChannelID, User: row.UserID, All: row.History == "all", Before: scanned + 1,
		Limit: around + len(w.Messages),
	}
	_, args := history.query()
	s := &w.Shown
	b.Queue(selectMessage+query, append(args, around, w.Messages)...).Query(func(rows pgx.Rows) error {
		size := 0
		full := false
		err := eachMessage(rows, func(m StoredMessage) bool {
			if s.Last == nil && m.Seq <= scanned {
				s.Last = &m.ID
			}
			if slices.Contains(w.Messages, m.Seq) {
				s.Messages = append(s.Messages, m)
				return true
			}
			size += len(m.Content)
			full = full || len(s.Around) == around || size > aroundBytes
			if !full {
				s.Around = append(s.Around, m)
			}
			return true
		})
		slices.Reverse(s.Messages)
		return err
	})
}
