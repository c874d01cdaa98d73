package events

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// A Signal is an ephemeral event of a stream. It is not in the event log and in no replay, and its frame has
// no id. If it is lost, it stays lost. Of the signals with the same Topic the latest one counts.
//
// Servers send signals to each other as JSON. A Signal must not change once it was sent.
type Signal struct {
	Event     string    `json:"event"` // one of SignalNames
	ChannelID uuid.UUID `json:"channelId"`
	GuildID   string    `json:"guildId"`
	UserID    string    `json:"userId"`         // the user that the signal is about
	Part      int       `json:"part,omitempty"` // tells signals apart that have different parts of one Only
	Of        uuid.UUID `json:"of,omitzero"`    // of a wake.state: the first message

	// the sender's position: a server shows the signal only once it has read that far
	At    Cursor    `json:"at"`
	Sent  int64     `json:"sent"`  // orders the signals of a topic
	Until time.Time `json:"until"` // from then on the signal means nothing

	// Echo says that a stream of UserID gets the signal only if it asks for the user's own messages.
	Echo bool `json:"echo,omitempty"`
	// Only lists the members who may hear it, sorted; nil: all. The others would not hear a message either.
	Only []string `json:"only,omitempty"`
	// Since is a number that a member's interval must have begun at or before; 0: any.
	Since int64 `json:"since,omitempty"`

	Data json.RawMessage `json:"data"` // the data of the frame: one line
}

// MaxParts is how many signals may stand for one whose list of listeners is too long for one.
const MaxParts = 16

// A Topic tells signals apart: a signal replaces an earlier one of the same topic.
type Topic struct {
	Event     string
	ChannelID uuid.UUID
	UserID    string
	Part      int
	Of        uuid.UUID
}

// Topic returns the topic of s.
func (s *Signal) Topic() Topic { return Topic{s.Event, s.ChannelID, s.UserID, s.Part, s.Of} }

// Encode returns s as one line of JSON, for another server.
func (s *Signal) Encode() []byte { return appendEncoded(nil, s) }

// Hears reports whether a current member hears s, whose interval began at joined. filter is the stream's.
func (s *Signal) Hears(user string, joined int64, filter *Filter) bool {
	switch {
	case !filter.inGuild(s.GuildID):
		return false
	case len(filter.Channels) > 0 && !slices.Contains(filter.Channels, s.ChannelID):
		return false
	case s.Echo && user == s.UserID && !filter.Echo:
		return false
	case s.Since > 0 && joined > s.Since:
		return false
	case s.Event == ChannelRead:
		return user == s.UserID && filter.passesOwn(s.Event)
	}
	return s.Only == nil || among(s.Only, user)
}

// Frame encodes s as it is sent on a stream.
func (s *Signal) Frame() *Frame {
	f := framed(s.Event, Cursor{}, len(s.Data), func(b []byte) []byte { return append(b, s.Data...) })
	f.Topic = new(s.Topic())
	return f
}

// A Doing is the data of an activity: what a member does in a channel now.
type Doing struct {
	ChannelID uuid.UUID  `json:"channelId"`
	UserID    string     `json:"userId"`
	Kind      string     `json:"kind"` // one of ActivityKinds
	Text      string     `json:"text,omitempty"`
	Cut       bool       `json:"cut,omitempty"` // Text is only the beginning
	ReplyTo   *uuid.UUID `json:"replyTo,omitempty"`
	Until     Time       `json:"until"`
}

// Encode returns d as one line of JSON.
func (d Doing) Encode() json.RawMessage { return appendEncoded(nil, d) }

// Within returns d in at most size bytes of JSON. It cuts the text between two characters if need be.
func (d Doing) Within(size int) json.RawMessage {
	line := d.Encode()
	for len(line) > size && d.Text != "" {
		d.Cut = true
		// Each byte of text takes at least one byte of JSON, so this cuts too little at most.
		d.Text = beginning(d.Text, max(0, len(d.Text)-max(1, (len(line)-size)/6)))
		line = d.Encode()
	}
	return line
}

// beginning returns at most n bytes of s, whole characters only.
func beginning(s string, n int) string {
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.Clone(s[:n])
}

// A WorkState is the data of a wake.state: how the work of a user on messages stands.
type WorkState struct {
	ChannelID  uuid.UUID   `json:"channelId"`
	UserID     string      `json:"userId"`
	State      string      `json:"state"` // as in the deliveries of a message
	Status     string      `json:"status,omitempty"`
	MessageIDs []uuid.UUID `json:"messageIds"`
}

// Encode returns w as one line of JSON.
func (w WorkState) Encode() json.RawMessage { return appendEncoded(nil, w) }

// A ReadMark is the data of a channel.read: the user has read the channel up to a message.
type ReadMark struct {
	ChannelID uuid.UUID `json:"channelId"`
	UserID    string    `json:"userId"`
	ReadTo    uuid.UUID `json:"readTo"`
}

// Encode returns m as one line of JSON.
func (m ReadMark) Encode() json.RawMessage { return appendEncoded(nil, m) }
