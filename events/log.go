package events

import (
	"context"
	"errors"

	"github.com/google/uuid"
)

// A Log is what the readers need of the log; package db implements it. Every method may be called at any
// time from any goroutine, and an error means "try again", unless it is ErrExpired.
type Log interface {
	// Tail returns the events after a position in order, up to the safe horizon, at most limit. Every
	// number at or below the position of the last one is committed or gone for good.
	Tail(ctx context.Context, after Cursor, limit int) (Tail, error)
	// Replay returns the part of (after, upTo] that user is entitled to, in order. upTo must be at or below
	// a position that Tail has reached. ErrExpired: events after the position are gone.
	Replay(ctx context.Context, user string, after, upTo int64) (Page, error)
	// Memberships returns a page of the memberships of each of users as of asOf, a position that Tail has
	// reached: at most limit for each user. Fewer than limit are the user's last page.
	Memberships(ctx context.Context, users []string, asOf int64, from Place, limit int) (map[string][]Membership, error)
}

// A Place is where a page of a user's memberships begins. Memberships that last come first, ordered by channel;
// then come those that have ended, ordered by their end. A membership that ends between two pages can be in both
// parts, and is always in one.
type Place struct {
	Channel uuid.UUID // memberships that last begin after this channel
	Left    int64     // memberships that have ended begin after this number
}

// After returns the place that follows a page, which is not empty.
func (p Place) After(page []Membership) Place {
	last := page[len(page)-1]
	if last.Left == 0 {
		return Place{last.ChannelID, p.Left}
	}
	return Place{uuid.Max, last.Left}
}

// ErrExpired says that retention has taken events which a reader would need.
var ErrExpired = errors.New("the log no longer reaches back to this position")

// A Tail is the end of the log.
type Tail struct {
	Events  []*Event
	Pending bool  // a number beyond the horizon is still undecided
	Horizon int64 // all numbers up to here are decided
	Last    int64 // the last number that was given out; 0: it took no look at the horizon to know what comes next
	Epoch   int64 // of the life of the database that answered
	Base    int64 // what has survived since the epoch of the position: the smallest base of those after it
	Head    int64 // the greatest number that was committed when the epoch began; 0: Base
	// Contradiction is how the data showed that an epoch from the position's on was over; empty: it did not.
	Contradiction string
	Floor         int64 // above the position: retention has taken what came next; else it may be 0
}

// A Page is a part of what one user missed.
type Page struct {
	Events  []Heard
	Reached int64 // all up to here has been looked at: the number of an event, or upTo
	Epoch   int64 // of the life of the database that answered
}

// A Membership is one interval of a user with its channel.
type Membership struct {
	Interval
	Channel Channel
}
