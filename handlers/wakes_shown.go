package handlers

import (
	"bytes"
	"slices"
	"strconv"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/web"

	"github.com/google/uuid"
)

// A decidedMessage is a message with the decision that the stream had; without, where the stream skipped it.
type decidedMessage struct {
	events.Message
	Wakeup     *bool
	WakeReason string // a word
}

// AppendJSON appends the fields of the message and those of the decision.
func (m *decidedMessage) AppendJSON(b []byte) []byte {
	b = m.Message.AppendJSON(b)
	if m.Wakeup == nil {
		return b
	}
	b = append(b[:len(b)-1], `,"wakeup":`...)
	b = strconv.AppendBool(b, *m.Wakeup)
	b = append(b, `,"wakeReason":"`...)
	b = append(b, m.WakeReason...)
	return append(b, `"}`...)
}

// MarshalJSON is AppendJSON for an answer that has the message in a field.
func (m *decidedMessage) MarshalJSON() ([]byte, error) { return m.AppendJSON(nil), nil }

func appendMessages(b []byte, all []*decidedMessage) []byte {
	const typical = 600 // bytes of a message
	b = append(slices.Grow(b, typical*len(all)), '[')
	for i, m := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = m.AppendJSON(b)
	}
	return append(b, ']')
}

type wakeItem struct {
	ID         uuid.UUID         `json:"id"`
	GuildID    string            `json:"guildId"`
	ChannelID  uuid.UUID         `json:"channelId"`
	Name       string            `json:"name"`
	XType      events.XType      `json:"xType"`
	Reason     string            `json:"reason"`
	Attempt    int               `json:"attempt"`
	LeaseUntil events.Time       `json:"leaseUntil"`
	LeaseMS    int64             `json:"leaseMs"`
	More       bool              `json:"more"`
	Last       *uuid.UUID        `json:"last"`
	Messages   []*decidedMessage `json:"-"` // "messages", see AppendJSON
	Context    []*decidedMessage `json:"-"` // "context"
}

// AppendJSON appends the item with its messages.
func (w *wakeItem) AppendJSON(b []byte) []byte {
	type head wakeItem
	h, _ := web.Encode((*head)(w)) // all of it encodes
	b = append(b, bytes.TrimSuffix(h, []byte("}\n"))...)
	b = appendMessages(append(b, `,"messages":`...), w.Messages)
	b = appendMessages(append(b, `,"context":`...), w.Context)
	return append(b, '}')
}

// shownItem is what a worker gets of a wake: its messages, and those around them, as the history would show
// them.
func shownItem(user string, wake *db.Wake) *wakeItem {
	c := wake.Shown.Channel
	item := &wakeItem{
		ID: wake.ID, GuildID: c.GuildID, ChannelID: c.ID, Name: c.Name, XType: c.XType,
		Reason: wake.Reason.String(), Attempt: wake.Attempt,
		LeaseUntil: wake.LeaseUntil, LeaseMS: wake.Lease.Milliseconds(), More: wake.More,
		Last: wake.Shown.Last,
	}
	for _, m := range wake.Shown.Messages {
		item.Messages = append(item.Messages, decided(m, c, user))
	}
	for _, m := range slices.Backward(wake.Shown.Around) {
		item.Context = append(item.Context, decided(m, c, user))
	}
	return item
}

// decided is a message as a reader may see it, with the decision that the stream had. Streams skip what was
// said while the reader was not a member, unless the reader was the admin. With history "all" a member reads
// it, and it must not look as if it woke the member.
func decided(m db.StoredMessage, c db.Channel, reader string) *decidedMessage {
	shown := &decidedMessage{Message: m.AsSeen(&c)}
	if m.In == nil && m.Admin != reader {
		return shown
	}
	facts := m.Facts()
	if m.OnList {
		facts.WakeList = []string{reader}
	}
	outcome, reason := facts.Decide(reader)
	if outcome != events.Skip {
		shown.Wakeup, shown.WakeReason = new(outcome == events.Wake), reason.String()
	}
	return shown
}
