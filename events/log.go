package events

import (
	"context"
	"errors"
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
	// Snapshot returns the channels of each of users as of asOf, a position that Tail has reached; and, for
	// routing, also the intervals that ended after closedAfter.
	Snapshot(ctx context.Context, users []string, asOf, closedAfter int64) (map[string][]Membership, error)
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
