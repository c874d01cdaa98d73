package handlers

import (
	"cmp"
	"context"
	"net/http"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/chat"
	"fabric-guild/handlers/web"

	"github.com/google/uuid"
)

type turnItem struct {
	UserID *string `json:"userId"` // null: the channel has no members
	Paused bool    `json:"paused"`
}

type turnAnswer struct {
	Turn   turnItem      `json:"turn"`
	Cursor events.Cursor `json:"cursor"`
}

func turnOf(c db.Channel) chat.Turn {
	t := chat.Turn{Paused: c.TurnPaused}
	if c.TurnUserID != nil {
		t.Holder = *c.TurnUserID
	}
	return t
}

func asItem(t chat.Turn) turnItem {
	item := turnItem{Paused: t.Paused}
	if t.Holder != "" {
		item.UserID = &t.Holder
	}
	return item
}

func needsTurns(c db.Channel) error {
	if !c.XType.TakesTurns() {
		return web.NewProblem(http.StatusUnprocessableEntity, "no_turns",
			"only discuss and work channels have turns")
	}
	return nil
}

func (s *Server) turn(w http.ResponseWriter, r *http.Request) error {
	c, err := s.look(w, r)
	if err != nil {
		return err
	}
	if err := needsTurns(c); err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, struct {
		Turn turnItem `json:"turn"`
	}{asItem(turnOf(c))})
}

func (s *Server) setTurn(w http.ResponseWriter, r *http.Request) error {
	id, channel, _, err := s.begin(w, r)
	if err != nil {
		return err
	}
	body, err := web.Decode[struct {
		Action string  `json:"action"`
		UserID *string `json:"userId"`
	}](w, r)
	if err != nil {
		return err
	}
	action, ok := chat.ParseAction(body.Action)
	switch {
	case !ok:
		return web.Refused(web.FieldError{
			Field: "action", Detail: "must be pass, take, give, pause or resume",
		})
	case action == chat.Give && body.UserID == nil:
		return web.Refused(web.FieldError{
			Field: "userId", Detail: "is missing: give needs the user who gets the turn",
		})
	case action != chat.Give && body.UserID != nil:
		return web.Refused(web.FieldError{Field: "userId", Detail: "can be used only with the action give"})
	}
	var target string
	if body.UserID != nil {
		target = *body.UserID
		if wrong := checkID("userId", target); wrong != nil {
			return web.Refused(wrong...)
		}
	}
	var answer turnAnswer
	err = s.db.InTx(r.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		answer, err = s.moveTurn(ctx, tx, id, channel, action, target)
		return err
	})
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, answer)
}

type commandAnswer struct {
	Command string         `json:"command"`
	Help    string         `json:"help,omitempty"`
	Turn    *turnItem      `json:"turn,omitempty"`
	Cursor  *events.Cursor `json:"cursor,omitempty"`
}

// carryOut carries out a message that is a command, and answers it. A command has the same effect as its own
// endpoint.
func (s *Server) carryOut(
	w http.ResponseWriter, r *http.Request, id auth.Identity, channel uuid.UUID, key *db.RequestKey,
	command chat.Command,
) error {
	return s.once(w, r, key, func(ctx context.Context, tx db.Tx) (int, any, error) {
		if command.Help {
			_, err := ofMember(ctx, tx.Queries, id, channel)
			return http.StatusOK, commandAnswer{Command: "help", Help: chat.Help()}, err
		}
		if command.Stop {
			if _, err := ofMember(ctx, tx.Queries, id, channel); err != nil {
				return 0, nil, err
			}
			err := tx.StopWake(ctx, channel, command.UserID, id.UserID)
			return http.StatusOK, commandAnswer{Command: "stop"}, s.wakeProblem(err)
		}
		if command.Go {
			return http.StatusOK, commandAnswer{Command: "go"}, letGo(ctx, tx, id, channel)
		}
		a, err := s.moveTurn(ctx, tx, id, channel, command.Action, command.UserID)
		return http.StatusOK, commandAnswer{
			Command: string(command.Action), Turn: &a.Turn,
			Cursor: &a.Cursor,
		}, err
	})
}

// moveTurn locks the channel and applies an action of a member to its turn. target is used only for give. The
// error is a *web.Problem if the caller may not do this.
func (s *Server) moveTurn(
	ctx context.Context, tx db.Tx, id auth.Identity, channel uuid.UUID, action chat.Action, target string,
) (turnAnswer, error) {
	c, err := hold(ctx, tx, id, channel, ofMember)
	if err != nil {
		return turnAnswer{}, err
	}
	if err := cmp.Or(needsTurns(c), notArchived(c)); err != nil {
		return turnAnswer{}, err
	}
	if action == chat.Give {
		is, err := tx.IsMember(ctx, channel, target)
		if err != nil {
			return turnAnswer{}, err
		}
		if !is {
			return turnAnswer{}, web.Refused(web.FieldError{
				Field: "userId", Detail: "is not a member of this channel",
			})
		}
	}
	turn := turnOf(c)
	next, err := tx.NextAfter(ctx, channel, turn.Holder)
	if err != nil {
		return turnAnswer{}, err
	}
	after, changed := turn.Apply(action, id.UserID, target, next)
	if !changed {
		at, err := unchanged(ctx, tx.Queries, c)
		return turnAnswer{asItem(turn), at}, err
	}
	if err := tx.SetTurn(ctx, channel, after.Holder, after.Paused); err != nil {
		return turnAnswer{}, err
	}
	at, err := tx.TellTurn(ctx, channel, after.Holder, string(action))
	return turnAnswer{asItem(after), at}, err
}

// handOver returns the user who gets the turn by a message. It returns "" if the message wakes nobody. The
// caller must hold the channel exclusively.
func handOver(ctx context.Context, tx db.Tx, c db.Channel, m db.NewMessage) (wakes string, err error) {
	first, err := tx.FirstMember(ctx, c.ID, m.Mentioned, m.AuthorUserID)
	if err != nil {
		return "", err
	}
	next, err := tx.NextAfter(ctx, c.ID, m.AuthorUserID)
	if err != nil {
		return "", err
	}
	_, wakes = turnOf(c).AfterMessage(m.AuthorUserID, first, next)
	return wakes, nil
}

// joinTurn gives the turn to a user who joins, if the channel has no holder. The caller must hold the channel
// exclusively.
func joinTurn(ctx context.Context, tx db.Tx, c db.Channel, user string) error {
	if turn := turnOf(c); c.XType.TakesTurns() && turn.Join(user) != turn {
		return tx.SetTurn(ctx, c.ID, user, turn.Paused)
	}
	return nil
}

// leaveTurn passes the turn on if user, who leaves, holds it. It returns the new holder if an event must
// announce one, and "" otherwise. The caller must hold the channel exclusively, and must call leaveTurn
// before it removes the member.
func leaveTurn(ctx context.Context, tx db.Tx, c db.Channel, user string) (holder string, err error) {
	turn := turnOf(c)
	if !c.XType.TakesTurns() {
		return "", nil
	}
	next, err := tx.NextAfter(ctx, c.ID, user)
	if err != nil {
		return "", err
	}
	after, changed := turn.Apply(chat.Leave, user, "", next)
	if !changed {
		return "", nil
	}
	return after.Holder, tx.SetTurn(ctx, c.ID, after.Holder, after.Paused)
}
