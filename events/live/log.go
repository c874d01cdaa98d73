package live

import (
	"context"

	"fabric-guild/events"
)

// A Log is what live reads from the event log. Package db implements it. Every method may be called at any
// time from any goroutine. An error other than events.ErrExpired means that the same call may succeed later.
type Log interface {
	// Tail returns the events after a position in order, up to the safe horizon, at most limit. Every number
	// at or below the position of the last event is committed, or will never exist.
	Tail(ctx context.Context, after events.Cursor, limit int) (events.Tail, error)
	// Known is Tail without a read. It returns the events that are known to follow a position, which may be
	// none. Unread says that the event log must be read after them. Pending without Unread says that a number
	// is missing, which may become known soon. Known does not block.
	Known(after events.Cursor, limit int) events.Tail
	// Reading waits for one of the places of those who read, and must come before Replay and Memberships. The
	// caller must call done once.
	Reading(ctx context.Context) (done func(), err error)
	// Replay returns the part of (after, upTo] that user may hear, in order. upTo must be at or below a
	// position that Tail has reached. The error is events.ErrExpired if events after the position are gone.
	Replay(ctx context.Context, user string, after, upTo int64) (events.Page, error)
	// Memberships returns a page of the memberships of each of users as of asOf, a position that Tail has
	// reached. A page has at most limit memberships of each user. A user with fewer than limit has no further
	// page.
	Memberships(
		ctx context.Context, users []string, asOf int64, from events.Place, limit int,
	) (map[string][]events.Membership, error)
	// CheckCursor decides whether a stream may continue from c on a server that has read the event log up to
	// position. reset is one of events.ResetReasons, or empty if the stream may continue.
	CheckCursor(ctx context.Context, c, position events.Cursor) (reset string, err error)
}
