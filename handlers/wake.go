package handlers

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/web"
)

type wakeAnswer struct {
	UserIDs []string       `json:"userIds"`
	Cursor  *events.Cursor `json:"cursor,omitempty"`
}

func needsWakeList(c db.Channel) error {
	if !c.XType.HasWakeList() {
		return web.NewProblem(http.StatusUnprocessableEntity, "no_wake_list",
			"only triage and custom channels have a wake list")
	}
	return nil
}

func (s *Server) wakeList(w http.ResponseWriter, r *http.Request) error {
	c, err := s.look(w, r)
	if err != nil {
		return err
	}
	if err := needsWakeList(c); err != nil {
		return err
	}
	users, err := s.db.WakeList(r.Context(), c.ID)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, wakeAnswer{UserIDs: users})
}

func (s *Server) setWakeList(w http.ResponseWriter, r *http.Request) error {
	id, channel, _, err := s.begin(w, r)
	if err != nil {
		return err
	}
	body, err := web.Decode[struct {
		UserIDs *[]string `json:"userIds"`
	}](w, r)
	if err != nil {
		return err
	}
	if body.UserIDs == nil {
		return web.Malformed(web.FieldError{Field: "userIds", Detail: "is missing"})
	}
	if err := s.weigh(w, id.UserID, 0, len(*body.UserIDs)); err != nil {
		return err
	}
	users, wrong := distinct("userIds", *body.UserIDs)
	if wrong != nil {
		return web.Refused(wrong...)
	}
	_, at, err := s.changeChannel(r.Context(), id,
		channel, func(ctx context.Context, tx db.Tx, c *db.Channel) (at events.Cursor, err error) {
			if err := cmp.Or(needsWakeList(*c), notArchived(*c), maySteer(*c, id)); err != nil {
				return at, err
			}
			strangers, err := tx.Strangers(ctx, channel, users)
			if err != nil {
				return at, err
			}
			if len(strangers) > 0 {
				return at, web.Refused(web.FieldError{
					Field: "userIds", Detail: "names users who are not members: " +
						strings.Join(strangers[:min(10, len(strangers))], ", "),
				})
			}
			now, err := tx.WakeList(ctx, channel)
			if err != nil {
				return at, err
			}
			if slices.Equal(now, users) {
				return unchanged(ctx, tx.Queries, *c)
			}
			return tx.SetWakeList(ctx, channel, id.UserID, users)
		})
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, wakeAnswer{users, &at})
}

// distinct checks a list of user ids and returns it without duplicates, in the same order. It reports an
// invalid id, or a list of more than maxFirstMembers.
func distinct(field string, ids []string) ([]string, []web.FieldError) {
	out := []string{}
	known := map[string]bool{}
	for _, id := range ids {
		if wrong := checkID(field, id); wrong != nil {
			return nil, wrong
		}
		if !known[id] {
			known[id] = true
			out = append(out, id)
		}
	}
	if len(out) > maxFirstMembers {
		return nil, []web.FieldError{{Field: field, Detail: "lists more than 1,000 users"}}
	}
	return out, nil
}
