package handlers

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"fabric-guild/db"
	"fabric-guild/events"

	"github.com/google/uuid"
)

// notesOf returns the signals that stand for x on the other servers. A note is small: the text of a draft is
// cut, and a long list of listeners is split among several notes. There are none if nobody may hear x.
func notesOf(x *events.Signal, within func(size int) json.RawMessage) []*events.Signal {
	if x.Only != nil && len(x.Only) == 0 {
		return nil // in a note, an empty list would stand for all members
	}
	bare := *x
	bare.Only = nil
	bare.Part = events.MaxParts // the longest
	bare.Data = json.RawMessage("null")
	room := db.MaxNote - len(bare.Encode())
	note := *x
	if x.Only == nil {
		note.Data = within(room)
		return []*events.Signal{&note}
	}
	room -= len(`,"only":[]`)
	note.Data = within(room / 2)
	room -= len(note.Data)
	var notes []*events.Signal
	for rest := x.Only; len(rest) > 0 && len(notes) < events.MaxParts; {
		n, size := 0, 0
		for n < len(rest) && size+len(rest[n])+3 <= room {
			size += len(rest[n]) + 3
			n++
		}
		part := note
		part.Part = len(notes)
		part.Only = rest[:n:n]
		rest = rest[n:]
		notes = append(notes, &part)
	}
	return notes
}

// stateKept is how long a wake.state may wait for its round.
const stateKept = 10 * time.Second

// watched reports whether anybody may hear a wake.state: without listeners it needs no query.
func (s *Server) watched() bool { return s.router.Watched() || s.db.HasOthers() }

// workOf returns the work of a wake before it changes, for tellWork. It returns nil if nobody listens.
// Whoever listens can do without: if the database does not answer, workOf returns nil too.
func (s *Server) workOf(ctx context.Context, ref db.WakeRef) *db.Work {
	if !s.watched() {
		return nil
	}
	w, err := s.db.Working(ctx, ref)
	if err != nil || len(w.Messages) == 0 {
		return nil
	}
	return &w
}

// tellClaim shows that a user has claimed what a wake shows.
func (s *Server) tellClaim(ctx context.Context, user string, shown *db.ShownWake) {
	if !s.watched() {
		return
	}
	work := db.Work{Channel: shown.Channel, Messages: shown.Messages}
	if s.db.ListWork(ctx, &work) == nil {
		s.tellWork(&work, user, "claimed", "")
	}
}

// tellWork shows how a user's work on messages stands: to the members from whom none of the messages was
// kept. A nil w shows nothing.
func (s *Server) tellWork(w *db.Work, user, state, status string) {
	if w == nil || len(w.Messages) == 0 {
		return
	}
	data := events.WorkState{ChannelID: w.Channel.ID, UserID: user, State: state, Status: status}
	var since int64
	if w.Channel.History != "all" {
		since = w.Messages[0].Seq
	}
	for _, m := range w.Messages {
		data.MessageIDs = append(data.MessageIDs, m.ID)
	}
	s.signal(&events.Signal{
		Event: events.WakeState, ChannelID: w.Channel.ID, GuildID: w.Channel.GuildID, UserID: user,
		At: s.router.Position(), Until: time.Now().Add(stateKept), Only: audience(w.Messages), Since: since, Data: data.Encode(),
	}, func(size int) json.RawMessage {
		line := data.Encode()
		for len(line) > size && len(data.MessageIDs) > 1 { // clients know the messages by the later ones too
			data.MessageIDs = data.MessageIDs[(len(data.MessageIDs)+1)/2:]
			line = data.Encode()
		}
		return line
	})
}

// audience returns the users who heard all of the messages of a triage channel, sorted. Elsewhere no message
// is kept from a member, and it returns nil.
func audience(messages []db.StoredMessage) []string {
	users := []string{}
	for i := range messages {
		m := &messages[i]
		if m.XType != events.Triage || m.TwoState {
			return nil
		}
		heard := slices.Concat(m.WakeList, m.MentionUserIDs, []string{m.AuthorUserID})
		if m.Admin != "" {
			heard = append(heard, m.Admin)
		}
		slices.Sort(heard)
		heard = slices.Compact(heard)
		if i > 0 {
			heard = slices.DeleteFunc(heard, func(user string) bool {
				_, both := slices.BinarySearch(users, user)
				return !both
			})
		}
		users = heard
	}
	return users
}

// tellRead shows the caller's other streams that a channel was read up to a message.
func (s *Server) tellRead(c db.Channel, user string, message uuid.UUID) {
	data := events.ReadMark{ChannelID: c.ID, UserID: user, ReadTo: message}.Encode()
	s.signal(&events.Signal{
		Event: events.ChannelRead, ChannelID: c.ID, GuildID: c.GuildID, UserID: user,
		At: s.router.Position(), Until: time.Now().Add(stateKept), Data: data,
	}, func(int) json.RawMessage { return data })
}
