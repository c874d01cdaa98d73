package tail

import (
	"encoding/json"
	"strings"

	"fabric-guild/events"
	"fabric-guild/events/follow"
)

// An event is one with what is needed of its data. What it does not have is empty.
type event struct {
	follow.Event `json:"-"`

	Cursor   string // stream.*
	Channels []channel
	Reason   string // of a reset, of a turn's change

	MessageID    string `json:"id"`
	ChannelID    string
	GuildID      string
	XType        string
	ChannelName  string `json:"name"`
	UserID       string // who it is about
	AuthorUserID string
	Content      string
	Deleted      bool
	Redacted     bool
	Wakeup       bool
	WakeReason   string
	CreatedAt    string
	EditedAt     string
	OccurredAt   string
}

type channel struct{ ID, Name, XType string }

// decode takes what it knows; a newer server may tell in other ways.
func decode(raw follow.Event) event {
	e := event{}
	_ = json.Unmarshal(raw.Data, &e)
	e.Event = raw
	return e
}

// isSnapshot reports whether the event tells of all channels: those of the stream that are worth showing.
func (e *event) isSnapshot() bool {
	return e.Name == events.StreamReset || e.Name == events.StreamChannels || e.Name == events.StreamReady && e.Channels != nil
}

// ofLog reports whether the event is of the log, not one of the stream's own.
func (e *event) ofLog() bool { return !strings.HasPrefix(e.Name, events.OwnPrefix) }
