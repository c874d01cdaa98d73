package handlers

import (
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
