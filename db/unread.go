package db

import (
	"context"
	"math"
	"strings"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

const (
	// MaxUnread is how many unread messages of a channel are counted.
	MaxUnread = 100
	// unreadLooks is how many messages after the marker are looked at, the newest ones: own and deleted
	// messages do not count, and there can be any number of them.
	unreadLooks = 500
	// Now is an upTo for everything that is committed.
	Now = math.MaxInt64 - 1
)

// Unread says what of a channel a user has not read.
type Unread struct {
	Messages int        // at most MaxUnread
	Waking   int        // those of them that wake the user
	ReadTo   *uuid.UUID // the last message that the user has read; nil: the channel was never marked
}

// selectUndecided is selectMessage without the texts.
var selectUndecided = strings.Replace(selectMessage, "m.content", "''::text AS content", 1)

// Unread returns what of some channels a user has not read, counting messages up to a number. Channels in
// which nothing is unread and that were never marked are not in the result.
func (q Queries) Unread(
	ctx context.Context, user string, channels []uuid.UUID, upTo int64,
) (map[uuid.UUID]Unread, error) {
	const markers = `
		SELECT u.id, (SELECT m.id FROM messages m WHERE m.channel_id = u.id AND m.seq = r.read_seq)
		FROM unnest($2::uuid[]) AS u (id) CROSS JOIN LATERAL (
			SELECT r.read_seq FROM read_markers r WHERE r.user_id = $1 AND r.channel_id = u.id LIMIT 1) r`
	messages := selectUndecided + `
		WHERE m.id = ANY (ARRAY(
			SELECT unread_of(u.id, $1, $3, $4, $5) FROM unnest($2::uuid[]) AS u (id)))
		ORDER BY m.seq DESC`
	found := map[uuid.UUID]Unread{}
	var b pgx.Batch
	b.Queue(messages, user, channels, upTo, MaxUnread, unreadLooks).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			m, err := scanMessage(rows)
			if err != nil {
				return err
			}
			of := found[m.ChannelID]
			of.count(&m, user)
			found[m.ChannelID] = of
		}
		return rows.Err()
	})
	b.Queue(markers, user, channels).Query(func(rows pgx.Rows) error {
		var channel uuid.UUID
		var message *uuid.UUID
		_, err := pgx.ForEachRow(rows, []any{&channel, &message}, func() error {
			of := found[channel]
			of.ReadTo = message
			found[channel] = of
			message = nil
			return nil
		})
		return err
	})
	err := q.conn.SendBatch(ctx, &b).Close()
	return found, sentinel(err)
}

// count counts a message, unless it was kept from the user. What was said while the user was not a member
// did not wake the user, who may read it with history "all".
func (u *Unread) count(m *StoredMessage, user string) {
	if u.Messages == MaxUnread {
		return
	}
	if m.OnList {
		m.WakeList = []string{user}
	}
	switch outcome, _ := m.Facts().Decide(user); outcome {
	case events.Wake:
		u.Messages++
		if m.In != nil {
			u.Waking++
		}
	case events.Observer:
		u.Messages++
	}
}

// MarkRead moves a user's marker of a channel forward to the number of a message. It never moves the marker
// back: then changed is false. Without a marker, joined is where the user has read to.
func (d *DB) MarkRead(
	ctx context.Context, user string, channel uuid.UUID, seq, joined int64,
) (changed bool, err error) {
	const upsert = `
		INSERT INTO read_markers AS r (user_id, channel_id, read_seq) SELECT $1::text, $2::uuid, $3::bigint
		WHERE $3 >= $4::bigint
			OR EXISTS (SELECT FROM read_markers r WHERE r.user_id = $1 AND r.channel_id = $2)
		ON CONFLICT ON CONSTRAINT read_markers_pkey DO UPDATE SET read_seq = EXCLUDED.read_seq
			WHERE r.read_seq < EXCLUDED.read_seq`
	release, err := d.place(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	ctx, cancel := finish(ctx)
	defer cancel()
	tag, err := d.conn.Exec(ctx, upsert, user, channel, seq, joined)
	return tag.RowsAffected() == 1, sentinel(err)
}
