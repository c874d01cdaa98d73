package handlers

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/web"

	"github.com/google/uuid"
	"github.com/julienschmidt/httprouter"
)

type messageAnswer struct {
	Message events.Message `json:"message"`
	Cursor  events.Cursor  `json:"cursor"`
}

func messageNotFound() *web.Problem {
	return web.NewProblem(http.StatusNotFound, "message_not_found",
		"there is no such message, or none that you may see")
}

// beginMessage does what every request about one message begins with: it identifies the caller, checks the
// query against the allowed params, and parses the message's id.
func (s *Server) beginMessage(
	w http.ResponseWriter, r *http.Request, params ...string,
) (id auth.Identity, message uuid.UUID, q url.Values, err error) {
	if id, err = s.caller(w, r); err != nil {
		return id, message, nil, err
	}
	if q, err = web.Query(r, params...); err != nil {
		return id, message, nil, err
	}
	message, ok := web.ParseID(httprouter.ParamsFromContext(r.Context()).ByName("id"))
	if !ok {
		return id, message, nil, messageNotFound()
	}
	return id, message, q, nil
}

// seen returns a message and its channel if the caller is a member and may see the message. Otherwise the
// error is message_not_found, also if the channel is hidden or the caller is not a member: the answer must
// not tell whether the message exists.
func seen(
	ctx context.Context, q db.Queries, id auth.Identity, message uuid.UUID,
) (db.StoredMessage, db.Channel, error) {
	m, err := q.Message(ctx, message, id.UserID)
	if errors.Is(err, db.ErrNotFound) {
		return m, db.Channel{}, messageNotFound()
	}
	if err != nil {
		return m, db.Channel{}, err
	}
	c, err := ofMember(ctx, q, id, m.ChannelID)
	var p *web.Problem
	if errors.As(err, &p) || err == nil && m.In == nil && c.History != "all" {
		return m, c, messageNotFound()
	}
	return m, c, err
}

// message answers with one message as the history shows it: GET /api/messages/:id.
func (s *Server) message(w http.ResponseWriter, r *http.Request) error {
	id, message, _, err := s.beginMessage(w, r)
	if err != nil {
		return err
	}
	m, c, err := seen(r.Context(), s.db.Queries, id, message)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, oneMessage{decided(m, c, id.UserID)})
}

type oneMessage struct {
	Message *decidedMessage `json:"message"`
}

func (s *Server) editMessage(w http.ResponseWriter, r *http.Request) error {
	id, message, _, err := s.beginMessage(w, r)
	if err != nil {
		return err
	}
	body, err := web.Decode[struct {
		Content string `json:"content"`
	}](w, r)
	if err != nil {
		return err
	}
	if err := s.weigh(w, id.UserID, len(body.Content), 0); err != nil {
		return err
	}
	content, err := s.rewritten(r.Context(), body.Content)
	if err != nil {
		return err
	}
	return s.changeMessage(w, r, id, message, func(ctx context.Context, tx db.Tx, m *events.Message,
		c db.Channel,
	) (events.Cursor, error) {
		switch {
		case m.AuthorUserID != id.UserID:
			return events.Cursor{}, web.NewProblem(http.StatusForbidden, "not_author",
				"only its author may edit a message")
		case m.Deleted:
			return events.Cursor{}, web.NewProblem(http.StatusConflict, "message_deleted",
				"this message has been deleted")
		case m.Content == content:
			return unchanged(ctx, tx.Queries, c)
		}
		return tx.EditMessage(ctx, m, id.UserID, content, false, s.stillAdmin(m))
	})
}

func (s *Server) deleteMessage(w http.ResponseWriter, r *http.Request) error {
	id, message, _, err := s.beginMessage(w, r)
	if err != nil {
		return err
	}
	return s.changeMessage(w, r, id, message, func(ctx context.Context, tx db.Tx, m *events.Message,
		c db.Channel,
	) (events.Cursor, error) {
		switch {
		case m.AuthorUserID != id.UserID && (c.CreatedBy != id.UserID || c.XType == events.DM):
			return events.Cursor{}, web.NewProblem(http.StatusForbidden, "not_author",
				"only its author, or the channel's creator, may delete a message")
		case m.Deleted:
			return unchanged(ctx, tx.Queries, c)
		}
		return tx.EditMessage(ctx, m, id.UserID, "", true, s.stillAdmin(m))
	})
}

// changeMessage runs do in a transaction that holds the message's lock, and holds the channel's lock shared,
// as a post does. Then it writes the answer. The message is read twice: the first read finds the channel and
// keeps strangers from taking locks, and the second read sees the state under the locks. do may run twice.
func (s *Server) changeMessage(w http.ResponseWriter, r *http.Request, id auth.Identity, message uuid.UUID,
	do func(ctx context.Context, tx db.Tx, m *events.Message, c db.Channel) (events.Cursor, error),
) error {
	var m db.StoredMessage
	var at events.Cursor
	err := s.db.InTx(r.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		var c db.Channel
		if m, _, err = seen(ctx, tx.Queries, id, message); err != nil {
			return err
		}
		if err := tx.ShareChannel(ctx, m.ChannelID); err != nil {
			return err
		}
		if err := tx.LockMessage(ctx, message); err != nil {
			return err
		}
		if m, c, err = seen(ctx, tx.Queries, id, message); err != nil {
			return err
		}
		if err := notArchived(c); err != nil {
			return err
		}
		at, err = do(ctx, tx, &m.Message, c)
		return err
	})
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, messageAnswer{m.Message, at})
}

type delivery struct {
	UserID  string `json:"userId"`
	Outcome string `json:"outcome"`
	Reason  string `json:"reason"`

	// State is the state of the wake, for a user whom the message woke. Since and Status are set with the
	// state claimed, and Note with declined and stopped.
	State  string       `json:"state,omitempty"`
	Since  *events.Time `json:"since,omitempty"`
	Status *string      `json:"status,omitempty"`
	Note   *string      `json:"note,omitempty"`
}

// deliveries explains to whom a message was delivered and why. It has one entry for every user who was a
// member at the message's place in the event log, in join order. The admin comes last, if the admin heard the
// message and was not a member.
func (s *Server) deliveries(w http.ResponseWriter, r *http.Request) error {
	id, message, q, err := s.beginMessage(w, r, "limit", "after")
	if err != nil {
		return err
	}
	asked, err := web.PageLimit(q)
	if err != nil {
		return err
	}
	after, err := rosterPlace(q)
	if err != nil {
		return err
	}
	m, _, err := seen(r.Context(), s.db.Queries, id, message)
	if err != nil {
		return err
	}
	found, err := s.db.MembersAt(r.Context(), m.ChannelID, m.Seq, after.JoinedSeq, after.Position, asked+1)
	if err != nil {
		return err
	}
	if m.WakeList, err = s.db.WakeListAt(r.Context(), m.ChannelID, m.WakeVersion); err != nil {
		return err
	}
	facts := m.Facts()
	items := make([]delivery, len(found))
	for i, u := range found {
		items[i] = explain(facts, u.UserID)
	}
	if err := s.addStates(r.Context(), m, items); err != nil {
		return err
	}
	p := web.Page{Limit: asked}
	for i, u := range found {
		p.Add(items[i], nextInRoster(u))
	}
	if !p.More() && facts.Admin != "" {
		member, err := s.db.WasMember(r.Context(), m.ChannelID, facts.Admin, m.Seq)
		if err != nil {
			return err
		}
		if !member {
			p.AddLast(explain(facts, facts.Admin)) // the admin has no place in the roster
		}
	}
	return p.Write(w)
}

// explain returns the delivery of a message with the given facts to a user.
func explain(facts *events.Facts, user string) delivery {
	outcome, reason := facts.Decide(user)
	return delivery{UserID: user, Outcome: outcome.String(), Reason: reason.String()}
}

// addStates adds the state of the wake to the items of users whom the message woke.
func (s *Server) addStates(ctx context.Context, m db.StoredMessage, items []delivery) error {
	var users []string
	var at []int
	for i, d := range items {
		if d.Outcome == events.Wake.String() {
			users, at = append(users, d.UserID), append(at, i)
		}
	}
	if len(users) == 0 {
		return nil
	}
	states, err := s.db.WakeStates(ctx, m.ChannelID, slices.Repeat([]int64{m.Seq}, len(users)), users)
	if err != nil {
		return err
	}
	for i, x := range states {
		d := &items[at[i]]
		d.State, d.Since, d.Status, d.Note = x.State, x.Since, x.Status, x.Note
	}
	return nil
}
