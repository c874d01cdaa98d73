package tail

import (
	"encoding/json"
	"strings"

	"fabric-guild/events"
	"fabric-guild/events/follow"
)

// An event is a frame and the fields of its data that tail needs. A field that the data does not have is
// empty.
type event struct {
	follow.Event `json:"-"`

	Cursor   string // stream.*
	Channels []channel
	Reason   string // of a reset or of a change of turn

	MessageID    string `json:"id"`
	ChannelID    string
	GuildID      string
	XType        string
	ChannelName  string `json:"name"`
	UserID       string // the user that the event is about
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

// decode decodes the fields that it knows. It ignores errors: a newer server may send data in another form.
func decode(raw follow.Event) event {
	e := event{}
	_ = json.Unmarshal(raw.Data, &e)
	e.Event = raw
	return e
}

// isSnapshot reports whether the event contains the channels. Of the stream's own events, tail shows only
// these.
func (e *event) isSnapshot() bool {
	return e.Name == events.StreamReset || e.Name == events.StreamChannels ||
		e.Name == events.StreamReady && e.Channels != nil
}

// ofLog reports whether the event comes from the event log. The others are about the stream itself.
func (e *event) ofLog() bool { return !strings.HasPrefix(e.Name, events.OwnPrefix) }
