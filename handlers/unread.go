package handlers

import (
	"context"
	"errors"
	"net/http"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/web"

	"github.com/google/uuid"
)

// A channelItem is a channel in a list. With unread=true it says what the caller has not read.
type channelItem struct {
	events.Channel
	Unread      *int       `json:"unread,omitempty"`
	UnreadWakes *int       `json:"unreadWakes,omitempty"`
	ReadTo      *uuid.UUID `json:"readTo,omitempty"`
}

// channelItems returns the items of a list. With unread it counts the messages up to a number, with one query
// for all channels.
func (s *Server) channelItems(
	ctx context.Context, user string, channels []events.Channel, unread bool, upTo int64,
) ([]channelItem, error) {
	items := make([]channelItem, len(channels))
	ids := make([]uuid.UUID, len(channels))
	for i, c := range channels {
		items[i].Channel = c
		ids[i] = c.ID
	}
	if !unread || len(channels) == 0 {
		return items, nil
	}
	found, err := s.db.Unread(ctx, user, ids, upTo)
	if err != nil {
		return nil, err
	}
	for i := range items {
		u := found[ids[i]]
		items[i].Unread = &u.Messages
		items[i].UnreadWakes = &u.Waking
		items[i].ReadTo = u.ReadTo
	}
	return items, nil
}

type markedAnswer struct {
	Changed bool `json:"changed"`
}

// markRead moves the caller's read marker forward: PUT /api/channels/:id/read. A deleted message is a place
// like any other: otherwise its channel could stay unread.
func (s *Server) markRead(w http.ResponseWriter, r *http.Request) error {
	id, channel, _, err := s.begin(w, r)
	if err != nil {
		return err
	}
	body, err := web.Decode[struct {
		MessageID string `json:"messageId"`
	}](w, r)
	if err != nil {
		return err
	}
	wrong := web.Malformed(web.FieldError{
		Field:  "messageId",
		Detail: "must be the id of a message of this channel that you may read",
	})
	message, ok := web.ParseID(body.MessageID)
	if !ok {
		return wrong
	}
	c, err := ofMember(r.Context(), s.db.Queries, id, channel)
	if err != nil {
		return err
	}
	m, err := s.db.Message(r.Context(), message, id.UserID)
	if errors.Is(err, db.ErrNotFound) ||
		err == nil && (m.ChannelID != c.ID || m.In == nil && c.History != "all") {
		return wrong
	}
	if err != nil {
		return err
	}
	changed, err := s.db.MarkRead(r.Context(), id.UserID, channel, m.Seq, *c.JoinedSeq)
	if err != nil {
		return err
	}
	if changed {
		s.tellRead(c, id.UserID, message)
	}
	return web.WriteJSON(w, http.StatusOK, markedAnswer{changed})
}
