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

// selectShown selects what a worker sees of a channel $2, newest first, as the history shows it: the latest
// $4 messages before the number $3 that the user $1 may read, the user's own from there on, at most $5, and
// those with the numbers $6.
//
// A user with a wake is a member, so the messages since the join are almost always enough. Otherwise
// history_of finds those of earlier memberships. If the user has left meanwhile, all messages belong to an
// earlier membership, also those with the numbers $6.
var selectShown = `
	WITH j AS MATERIALIZED (
		SELECT CASE c.history WHEN 'all' THEN 0 ELSE (SELECT i.joined_seq FROM members i
			WHERE i.channel_id = $2 AND i.user_id = $1 AND i.left_seq IS NULL) END AS seq
		FROM channels c WHERE c.id = $2
	), latest AS MATERIALIZED (
		SELECT a.id, a.seq FROM messages a
		WHERE a.channel_id = $2 AND a.seq >= (SELECT j.seq FROM j) AND a.seq < $3
		ORDER BY a.seq DESC LIMIT $4)` + selectMessage + `
	WHERE m.id = ANY (ARRAY(
		SELECT l.id FROM latest l
		UNION
		(SELECT a.id FROM messages a
		WHERE a.channel_id = $2 AND a.seq >= $3 AND a.author_user_id = $1 ORDER BY a.seq DESC LIMIT $5)
		UNION
		SELECT (SELECT a.id FROM messages a WHERE a.channel_id = $2 AND a.seq = s)
		FROM unnest($6::bigint[]) AS s
		UNION
		SELECT history_of($2, $1, 0, least((SELECT j.seq FROM j), $3), $4 - (SELECT count(*) FROM latest))))
	ORDER BY m.seq DESC`

// queueShown reads the messages that the worker sees, in one statement. scanned is the number up to which the
// scan went, and around how many messages it shows besides those that are handed out.
func (w *Wake) queueShown(b *pgx.Batch, user string, channel uuid.UUID, scanned int64, around int) {
	b.Queue(selectShown, user, channel, scanned+1, around+len(w.Messages),
		around, w.Messages).Query(func(rows pgx.Rows) error {
		s := showing{Wake: w, user: user, scanned: scanned, around: around}
		w.Shown = ShownWake{Channel: w.Shown.Channel}
		return eachMessage(rows, func(m StoredMessage) bool {
			s.add(m)
			return true
		})
	})
}

// A showing fills in what the worker sees of a wake.
type showing struct {
	*Wake
	user    string
	scanned int64
	around  int // how many messages to show besides those that are handed out

	size    int  // of the texts around
	full    bool // no message around has room any more
	outside bool // it shows a message from outside of the current membership
}

// add adds a message. The newest one must come first.
func (s *showing) add(m StoredMessage) {
	shown := &s.Wake.Shown
	switch {
	case m.Seq > s.scanned && m.AuthorUserID != s.user:
		return
	case m.Seq <= s.scanned && shown.Last == nil:
		shown.Last = &m.ID
	}
	s.outside = s.outside || m.In == nil && !s.full
	if slices.Contains(s.Wake.Messages, m.Seq) {
		shown.Messages = slices.Insert(shown.Messages, 0, m)
		return
	}
	s.size += len(m.Content)
	s.full = s.full || len(shown.Around) == s.around || s.size > aroundBytes
	if !s.full {
		shown.Around = append(shown.Around, m)
	}
}

// lacks reports whether the messages of the current membership that were read are not what the worker sees: a
// message that is handed out is older, or the user has left meanwhile; or the user was a member before, and
// those messages belong to an earlier membership.
func (s *showing) lacks() bool {
	w := s.Wake
	earlier := w.Shown.Channel.LeftSeq != nil
	few := len(w.Shown.Around) < s.around && !s.full
	return len(w.Shown.Messages) < len(w.Messages) ||
		earlier && (s.outside || few && w.Shown.Channel.History != "all")
}
