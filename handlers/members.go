package handlers

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/chat"
	"fabric-guild/handlers/web"

	"github.com/google/uuid"
	"github.com/julienschmidt/httprouter"
)

type memberItem struct {
	UserID   string      `json:"userId"`
	JoinedAt events.Time `json:"joinedAt"`

	// As messages name them: what the member is now.
	AuthorKind events.UserKind `json:"authorKind"`
	AuthorName *string         `json:"authorName,omitempty"`
}

func itemOf(m db.Member) memberItem { return memberItem{m.UserID, m.JoinedAt, m.Kind, m.DisplayName} }

func memberItems(members []db.Member) []memberItem {
	out := make([]memberItem, len(members))
	for i, m := range members {
		out[i] = itemOf(m)
	}
	return out
}

// changedAnswer is the answer to a change of the roster. Changed is false if the roster was already as asked;
// then no event was written.
type changedAnswer struct {
	Changed bool          `json:"changed"`
	Cursor  events.Cursor `json:"cursor"`
}

func (s *Server) join(w http.ResponseWriter, r *http.Request) error {
	id, channel, _, err := s.begin(w, r)
	if err != nil {
		return err
	}
	return s.answerChange(w, r, id, channel,
		visible, func(_ context.Context, _ db.Tx, c *db.Channel) (bool, error) {
			if c.JoinedSeq != nil {
				return false, nil
			}
			return true, notArchived(*c)
		}, s.adds(channel, id.UserID))
}

func (s *Server) leave(w http.ResponseWriter, r *http.Request) error {
	id, channel, _, err := s.begin(w, r)
	if err != nil {
		return err
	}
	return s.removeFrom(w, r, id, channel, id.UserID)
}

func (s *Server) addMember(w http.ResponseWriter, r *http.Request) error {
	id, channel, user, err := s.beginMember(w, r)
	if err != nil {
		return err
	}
	return s.answerChange(w, r, id, channel,
		ofMember, func(ctx context.Context, tx db.Tx, c *db.Channel) (bool, error) {
			if err := notDM(*c); err != nil {
				return false, err
			}
			is, err := tx.IsMember(ctx, channel, user)
			if err != nil || is {
				return false, err
			}
			return true, notArchived(*c)
		}, s.adds(channel, user))
}

func (s *Server) removeMember(w http.ResponseWriter, r *http.Request) error {
	id, channel, user, err := s.beginMember(w, r)
	if err != nil {
		return err
	}
	return s.removeFrom(w, r, id, channel, user)
}

// removeFrom ends the membership of user and writes the answer. The caller may end their own membership. The
// membership of another user needs maySteer.
func (s *Server) removeFrom(
	w http.ResponseWriter, r *http.Request, id auth.Identity, channel uuid.UUID, user string,
) error {
	stand := ofMember
	if user == id.UserID {
		stand = onceMember
	}
	return s.answerChange(w, r, id, channel,
		stand, func(ctx context.Context, tx db.Tx, c *db.Channel) (bool, error) {
			if err := notDM(*c); err != nil {
				return false, err
			}
			if user == id.UserID {
				return c.JoinedSeq != nil, nil
			}
			if err := maySteer(*c, id); err != nil {
				return false, err
			}
			return tx.IsMember(ctx, channel, user)
		}, s.removes(channel, user))
}

// onceMember is visible for a caller who leaves. It also lets in a caller who has left already, even a
// private channel, so that a repeated leave answers that nothing changed, and not 404.
func onceMember(ctx context.Context, q db.Queries, id auth.Identity, channel uuid.UUID) (db.Channel, error) {
	c, err := q.Channel(ctx, channel, id.UserID)
	if err == nil && c.LeftSeq != nil && id.MayEnter(c.GuildID) {
		return c, nil
	}
	return visible(ctx, q, id, channel)
}

// answerChange locks the channel for a caller whom stand accepts. It calls do if due returns true, and
// answers whether the roster changed. An error of due refuses the request.
func (s *Server) answerChange(w http.ResponseWriter, r *http.Request, id auth.Identity, channel uuid.UUID,
	stand standing,
	due func(context.Context, db.Tx, *db.Channel) (bool, error), do change,
) error {
	var changed bool
	_, at, err := s.changeAs(r.Context(), id, channel,
		stand, func(ctx context.Context, tx db.Tx, c *db.Channel) (at events.Cursor, err error) {
			if changed, err = due(ctx, tx, c); err != nil {
				return at, err
			}
			if !changed {
				return unchanged(ctx, tx.Queries, *c)
			}
			return do(ctx, tx, c)
		})
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, changedAnswer{changed, at})
}

// adds returns a change that makes user a member. The first member of an empty channel also gets the turn.
func (s *Server) adds(channel uuid.UUID, user string) change {
	return func(ctx context.Context, tx db.Tx, c *db.Channel) (events.Cursor, error) {
		if err := joinTurn(ctx, tx, *c, user); err != nil {
			return events.Cursor{}, err
		}
		return tx.AddMember(ctx, channel, user)
	}
}

// removes returns a change that ends the membership of user. If user had the turn, the next member gets it.
func (s *Server) removes(channel uuid.UUID, user string) change {
	return func(ctx context.Context, tx db.Tx, c *db.Channel) (events.Cursor, error) {
		holder, err := leaveTurn(ctx, tx, *c, user)
		if err != nil {
			return events.Cursor{}, err
		}
		if c.XType.HasWakeList() { // a user who joins again must not be on duty without being asked
			if err := tx.TakeOffWakeList(ctx, channel, user); err != nil {
				return events.Cursor{}, err
			}
		}
		at, err := tx.RemoveMember(ctx, channel, user)
		if err == nil && holder != "" {
			_, err = tx.TellTurn(ctx, channel, holder, string(chat.Leave))
		}
		return at, err
	}
}

// beginMember is begin for a path that also names a user. An invalid user id is refused.
func (s *Server) beginMember(
	w http.ResponseWriter, r *http.Request,
) (id auth.Identity, channel uuid.UUID, user string, err error) {
	if id, channel, _, err = s.begin(w, r); err != nil {
		return id, channel, "", err
	}
	user = httprouter.ParamsFromContext(r.Context()).ByName("userId")
	if !chat.ValidID(user) {
		return id, channel, "", web.Refused(checkID("userId", user)...)
	}
	return id, channel, user, nil
}

func (s *Server) listMembers(w http.ResponseWriter, r *http.Request) error {
	id, channel, q, err := s.begin(w, r, "limit", "after")
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
	if _, err := visible(r.Context(), s.db.Queries, id, channel); err != nil {
		return err
	}
	found, err := s.db.ListMembers(r.Context(), channel, after.JoinedSeq, after.Position, asked+1)
	if err != nil {
		return err
	}
	p := web.Page{Limit: asked}
	for _, m := range found {
		p.Add(itemOf(m), nextInRoster(m))
	}
	return p.Write(w)
}

// rosterPlace reads the parameter after, which must be a place that nextInRoster returned. It returns the
// zero Member if the parameter is absent.
func rosterPlace(q url.Values) (m db.Member, err error) {
	after := q.Get("after")
	if after == "" {
		return m, nil
	}
	if _, err := fmt.Sscanf(after, "%d-%d", &m.JoinedSeq, &m.Position); err != nil ||
		nextInRoster(m) != after {
		return m, web.Malformed(web.FieldError{
			Field: "after", Detail: "must be the value of next in an earlier page",
		})
	}
	return m, nil
}

// nextInRoster returns the place of m in the roster. The page after m begins there.
func nextInRoster(m db.Member) string { return fmt.Sprintf("%d-%d", m.JoinedSeq, m.Position) }
