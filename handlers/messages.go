package handlers

import (
	"errors"
	"net/http"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/chat"

	"github.com/google/uuid"
)

// maxWakeups is how many of those whom a message wakes its answer names.
const maxWakeups = 50

type postBody struct {
	Content string  `json:"content"`
	ReplyTo *string `json:"replyTo"`
}

type wakeup struct {
	UserID string `json:"userId"`
	Reason string `json:"reason"`
}

func (s *Server) postMessage(w http.ResponseWriter, r *http.Request) error {
	id, channel, _, err := s.begin(r)
	if err != nil {
		return err
	}
	body, err := decode[postBody](w, r)
	if err != nil {
		return err
	}
	if p := checkContent(body.Content); p != nil {
		return p
	}
	m := events.Message{ID: uuid.Must(uuid.NewV7()), ChannelID: channel, AuthorUserID: id.UserID, Content: body.Content}
	if body.ReplyTo != nil {
		reply, ok := parseID(*body.ReplyTo)
		if !ok {
			return refused(fieldError{"replyTo", "is to be the id of a message"})
		}
		m.ReplyTo = &reply
	}
	post, err := s.db.PostMessage(r.Context(), m, id.Guilds, chat.Mentions(body.Content))
	if errors.Is(err, db.ErrRefused) {
		return s.whyRefused(r, id, channel)
	}
	if err != nil {
		return err
	}
	wakeups, count := woken(post)
	return writeJSON(w, http.StatusCreated, struct {
		Message     events.Message `json:"message"`
		Cursor      events.Cursor  `json:"cursor"`
		Wakeups     []wakeup       `json:"wakeups"` // 50 at most
		WakeupCount int            `json:"wakeupCount"`
	}{post.Message, post.Cursor, wakeups, count})
}

// whyRefused tells what stood in the way of a post: after the fact, so that the others need not ask.
func (s *Server) whyRefused(r *http.Request, id Identity, channel uuid.UUID) error {
	c, err := ofMember(r.Context(), s.db.Queries, id, channel)
	if err != nil {
		return err
	}
	if err := notArchived(c); err != nil {
		return err
	}
	return refused(fieldError{"replyTo", "is no message of this channel"})
}

// woken are those whom a post wakes, by the rule that its delivery goes by, and how many there are.
func woken(p db.Post) (named []wakeup, count int) {
	facts := p.Facts()
	named = []wakeup{}
	candidates := p.Roster
	if len(p.MentionUserIDs) > 0 {
		candidates = p.MentionUserIDs
	}
	for _, user := range candidates {
		reason := facts.Decide(user)
		if !reason.Wakes() {
			continue
		}
		if count++; len(named) < maxWakeups {
			named = append(named, wakeup{user, reason.String()})
		}
		if reason == events.Everyone {
			count = p.MemberCount - 1
		}
	}
	return named, count
}

func (s *Server) history(w http.ResponseWriter, r *http.Request) error {
	id, channel, q, err := s.begin(r, "before", "after", "limit")
	if err != nil {
		return err
	}
	asked, err := limit(q)
	if err != nil {
		return err
	}
	c, err := ofMember(r.Context(), s.db.Queries, id, channel)
	if err != nil {
		return err
	}
	h := db.History{Channel: channel, User: id.UserID, All: c.History == "all", Limit: asked + 1}
	for name, at := range map[string]*int64{"before": &h.Before, "after": &h.After} {
		if *at, err = s.placeOf(r, channel, name, q.Get(name)); err != nil {
			return err
		}
	}
	found, err := s.db.ListMessages(r.Context(), h)
	if err != nil {
		return err
	}
	items, next := page(found, asked, func(m events.Message) string { return m.ID.String() })
	return writeJSON(w, http.StatusOK, listAnswer[events.Message]{items, next})
}

// placeOf is where in the log the message is that a parameter names.
func (s *Server) placeOf(r *http.Request, channel uuid.UUID, name, value string) (int64, error) {
	if value == "" {
		return 0, nil
	}
	wrong := malformed(fieldError{name, "is to be the id of a message of this channel"})
	id, ok := parseID(value)
	if !ok {
		return 0, wrong
	}
	seq, err := s.db.MessageSeq(r.Context(), channel, id)
	if errors.Is(err, db.ErrNotFound) {
		return 0, wrong
	}
	return seq, err
}
