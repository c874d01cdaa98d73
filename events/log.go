package events

import (
	"errors"

	"github.com/google/uuid"
)

// ErrExpired says that retention removed events that a reader needs.
var ErrExpired = errors.New("the event log no longer reaches back to this position")

// A Place is where a page of a user's memberships begins. First come the memberships that last, ordered by
// channel; then those that have ended, ordered by their end. A membership that ends between two pages can be
// in both parts, and is always in one.
type Place struct {
	Channel uuid.UUID // memberships that last begin after this channel
	Left    int64     // memberships that have ended begin after this number
}

// After returns the place that follows a page. The page must not be empty.
func (p Place) After(page []Membership) Place {
	last := page[len(page)-1]
	if last.Left == 0 {
		return Place{last.ChannelID, p.Left}
	}
	return Place{uuid.Max, last.Left}
}

// A Tail is the result of one read at the end of the event log.
type Tail struct {
	Events  []*Event
	Pending bool  // a number beyond the horizon is undecided, or a number beyond the events is missing
	Unread  bool  // the event log must be read after the events; only Known sets it
	Horizon int64 // all numbers up to here are decided
	Last    int64 // the last number that was given out; 0: the read did not need the horizon
	Epoch   int64 // the epoch of the database that answered
	Base    int64 // the number up to which events survived since the epoch of the reader's position
	Head    int64 // the greatest number that was committed when the epoch began; 0: Base
	// Contradiction says how the data showed that the epoch of the reader's position, or a later one, was
	// over. It is empty if the data showed no such thing.
	Contradiction string
	// retention removed events up to here; may be 0 if the reader's position is at or above it
	Floor int64
}

// A Page is a part of the events that one user missed.
type Page struct {
	Events []Heard
	// the read has looked at everything up to here: the number of an event, or the read's upper end
	Reached int64
	Epoch   int64 // the epoch of the database that answered
}

// A Membership is one interval of a user with its channel.
type Membership struct {
	Interval
	Channel Channel
}
