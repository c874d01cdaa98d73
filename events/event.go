package events

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// Time is an instant in the API's form: RFC 3339 in UTC with milliseconds.
type Time struct{ time.Time }

// MarshalJSON writes the form 2026-11-22T08:07:46.123Z.
func (t Time) MarshalJSON() ([]byte, error) { return t.append(nil), nil }

func (t Time) append(b []byte) []byte {
	return t.UTC().AppendFormat(b, `"2006-01-02T15:04:05.000Z07:00"`)
}

// Scan reads a timestamptz. It implements database/sql.Scanner.
func (t *Time) Scan(src any) error {
	at, ok := src.(time.Time)
	if !ok {
		return fmt.Errorf("a time must be a timestamptz, got %T", src)
	}
	t.Time = at
	return nil
}

// A Channel is a channel as answers and snapshots show it. It looks the same to every reader.
type Channel struct {
	ID         uuid.UUID `json:"id"`
	GuildID    string    `json:"guildId"`
	Name       string    `json:"name"`
	XType      XType     `json:"xType"`
	Private    bool      `json:"private"`
	History    string    `json:"history"`
	CreatedBy  string    `json:"createdBy"`
	CreatedAt  Time      `json:"createdAt"`
	ArchivedAt *Time     `json:"archivedAt,omitempty"`
	Settings
}

// Settings limit whom the messages of a channel wake.
type Settings struct {
	LoopLimit  int   `json:"loopLimit"` // how many messages of agents in a row may wake; 0: any number
	HumanWakes Wakes `json:"humanWakes"`
	AgentWakes Wakes `json:"agentWakes"`
}

// An Event is one row of the event log, with the objects that the row refers to. An Event must not change
// after it was read: all sessions that hear it share it and its encoded frames.
type Event struct {
	Cursor     Cursor
	Kind       Kind
	UserID     string // the user that the event is about: the author, the member, the one who renamed
	OccurredAt Time

	ChannelID uuid.UUID
	GuildID   string
	Name      string
	XType     XType

	Joined []string // ChannelCreated: the first members
	// message events; WakeDead: the first message that nobody answers; GuardTripped: the first message that
	// wakes nobody
	Message *Message
	// message events: members at the event's place who were no members at the last change of its text
	Gone   []string
	Admin  string // message events in triage: the user who hears the event as the admin, member or not
	Reason string // TurnChanged: the cause

	// frames holds one encoding per variant. The first reader of a variant makes it. A race makes it twice,
	// which does no harm.
	frames [reasons]atomic.Pointer[Frame]
}

// A Heard is an event with the interval by which a user hears it. The interval is zero for an admin who is no
// member.
type Heard struct {
	*Event
	In Interval
}

// ForAdmin reports whether user hears e as the admin, without being a member.
func (e *Event) ForAdmin(user string) bool { return e.Admin != "" && e.Admin == user }

// Joiners returns the users whose interval begins with e.
func (e *Event) Joiners() []string {
	switch e.Kind {
	case ChannelCreated:
		return e.Joined
	case MemberJoined:
		return []string{e.UserID}
	}
	return nil
}

// WithMessage returns a copy of e that shows m, and has gone as its Gone. The copy has no encoded frames yet.
func (e *Event) WithMessage(m *Message, gone []string) *Event {
	return &Event{
		Cursor: e.Cursor, Kind: e.Kind, UserID: e.UserID, OccurredAt: e.OccurredAt,
		ChannelID: e.ChannelID, GuildID: e.GuildID, Name: e.Name, XType: e.XType, Message: m, Admin: e.Admin,
		Gone: gone,
	}
}

// Size estimates the memory that the event holds, in bytes: its texts and its frames. The ring is bounded by
// it.
func (e *Event) Size() int {
	n := 512 + 2*(len(e.UserID)+len(e.GuildID)+len(e.Name)+len(e.Reason)) + held(e.Joined) + held(e.Gone)
	if m := e.Message; m != nil {
		n += len(m.Content) + 2*m.size() // about two variants
		// mentions also exist sorted; a wake list is often not shared
		n += 2*held(m.MentionUserIDs) + held(m.WakeList)
		n += len(m.GuildID) + len(m.AuthorUserID) + len(m.AuthorName) + len(m.TurnUserID) + len(m.Admin)
	}
	return n
}

// held estimates the memory of a list of ids, in bytes: a header and a small allocation for each id.
func held(ids []string) int {
	n := 0
	for _, id := range ids {
		n += 24 + len(id)
	}
	return n
}

// FrameSize estimates the length of the event's frame in bytes, including what JSON adds to its texts.
func (e *Event) FrameSize() int {
	if e.Message == nil {
		return 280 + len(e.UserID) + len(e.GuildID) + len(e.Name) + escapes(e.Name)
	}
	return 80 + e.Message.size()
}
