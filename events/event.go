package events

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// An XType is what a channel is for; it decides who is woken by its messages.
type XType string

// The x-types, and for each who is woken.
const (
	General XType = "general" // everyone, or those who are mentioned
	Report  XType = "report"  // nobody
	Triage  XType = "triage"  // who is on duty
	Custom  XType = "custom"  // who is on the wake list
	DM      XType = "dm"      // the other one
	Discuss XType = "discuss" // whose turn it is
	Work    XType = "work"    // whose turn it is
)

// XTypes are all of them, in the order in which an error lists them.
var XTypes = []XType{General, Report, Triage, Custom, DM, Discuss, Work}

// A Kind is what an event in the log tells. On a stream ChannelCreated and the two about members show as
// channel.joined and channel.left to the user concerned.
type Kind string

// The kinds in the log.
const (
	ChannelCreated  Kind = "channel.created"
	ChannelUpdated  Kind = "channel.updated"
	ChannelArchived Kind = "channel.archived"
	MemberJoined    Kind = "member.joined"
	MemberLeft      Kind = "member.left"
	MessageCreated  Kind = "message.created"
	MessageUpdated  Kind = "message.updated"
	MessageDeleted  Kind = "message.deleted"
	TurnChanged     Kind = "turn.changed"
	WakeDead        Kind = "wake.dead"
)

// What the user concerned hears of ChannelCreated or MemberJoined, and of MemberLeft.
const (
	channelJoined = "channel.joined"
	channelLeft   = "channel.left"
)

// Kinds are the names of events on a stream, apart from the stream's own (stream.*).
var Kinds = []string{
	channelJoined, channelLeft, string(MemberJoined), string(MemberLeft),
	string(ChannelUpdated), string(ChannelArchived), string(MessageCreated),
	string(MessageUpdated), string(MessageDeleted), string(TurnChanged), string(WakeDead),
}

// Time is an instant on the wire: RFC 3339 in UTC with milliseconds.
type Time struct{ time.Time }

// MarshalJSON writes 2026-11-22T08:07:46.123Z.
func (t Time) MarshalJSON() ([]byte, error) { return t.append(nil), nil }

func (t Time) append(b []byte) []byte {
	return t.UTC().AppendFormat(b, `"2006-01-02T15:04:05.000Z07:00"`)
}

// Scan reads a timestamptz (database/sql.Scanner).
func (t *Time) Scan(src any) error {
	at, ok := src.(time.Time)
	if !ok {
		return fmt.Errorf("a time is a timestamptz, not %T", src)
	}
	t.Time = at
	return nil
}

// A Channel as everyone sees it: in answers, in snapshots.
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
}

// A Message as members see it in answers and in history; on a stream a wake decision follows it.
type Message struct {
	ID             uuid.UUID  `json:"id"`
	ChannelID      uuid.UUID  `json:"channelId"`
	GuildID        string     `json:"guildId"`
	XType          XType      `json:"xType"`
	AuthorUserID   string     `json:"authorUserId"`
	Content        string     `json:"content,omitempty"` // of a deleted or redacted one there is none
	MentionUserIDs []string   `json:"mentionUserIds"`
	ReplyTo        *uuid.UUID `json:"replyTo,omitempty"`
	CreatedAt      Time       `json:"createdAt"`
	EditedAt       *Time      `json:"editedAt,omitempty"`
	Deleted        bool       `json:"deleted,omitempty"`
	Redacted       bool       `json:"redacted,omitempty"`   // changed after the reader had left
	TurnUserID     string     `json:"turnUserId,omitempty"` // discuss, work: whose turn it is after it

	Seq       int64    `json:"-"` // of its first event
	EditedSeq int64    `json:"-"` // of the latest event that changed it; 0: none has
	WakeList  []string `json:"-"` // as of its post; shared, for lists never change
	Admin     string   `json:"-"` // as of its post
	TwoState  bool     `json:"-"`
	facts     *Facts
}

// Facts are what delivery decides by.
func (m *Message) Facts() *Facts {
	if m.facts != nil {
		return m.facts
	}
	return &Facts{
		XType: m.XType, Author: m.AuthorUserID, Mentioned: inOrder(m.MentionUserIDs),
		WakeList: inOrder(m.WakeList), Turn: m.TurnUserID, Admin: m.Admin, TwoState: m.TwoState,
	}
}

// inOrder is ids sorted; itself, where it is so already.
func inOrder(ids []string) []string {
	if slices.IsSorted(ids) {
		return ids
	}
	return slices.Sorted(slices.Values(ids))
}

// Settle works the facts out once and for all, for those who ask often.
func (m *Message) Settle() { m.facts = m.Facts() }

// For is the message as a member of an interval may see it: without its content, if that has changed since
// they left.
func (m Message) For(in Interval) Message {
	if m.changedAfter(in) {
		m.Content, m.EditedAt, m.Redacted = "", nil, true
	}
	return m
}

func (m *Message) changedAfter(in Interval) bool { return in.Left != 0 && m.EditedSeq > in.Left }

// An Event is one row of the log with what it refers to. It is immutable once it is read, and shared by
// every session that hears it, as are its encoded frames.
type Event struct {
	Cursor     Cursor
	Kind       Kind
	UserID     string // who it is about: the author, the member, the one who renamed
	OccurredAt Time

	ChannelID uuid.UUID
	GuildID   string
	Name      string
	XType     XType

	Joined  []string // ChannelCreated: the first members
	Message *Message // message events; WakeDead: the first message that nobody answers
	Gone    []string // message events: who is a member at the event's place and was none when its text last changed
	Admin   string   // message events in triage: who hears it as the admin, member or not
	Reason  string   // TurnChanged: what changed it

	frames [reasons]atomic.Pointer[Frame] // one encoding per variant, made by the first who needs it
}

// An Interval is a time of membership: its events are those in [Joined, Left], the last of which tells of
// the leave. Left is 0 as long as it lasts.
type Interval struct {
	ChannelID uuid.UUID
	Joined    int64
	Left      int64
}

// A Heard event is one with the interval by which its hearer hears it; of an admin who is no member it is zero.
type Heard struct {
	*Event
	In Interval
}

func (i Interval) covers(e *Event) bool {
	return i.ChannelID == e.ChannelID && i.Joined <= e.Cursor.Seq && (i.Left == 0 || e.Cursor.Seq <= i.Left)
}
