package handlers

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/chat"
	"fabric-guild/handlers/web"

	"golang.org/x/sync/singleflight"
)

type userItem struct {
	UserID      string          `json:"userId"`
	Kind        events.UserKind `json:"kind"`
	DisplayName *string         `json:"displayName,omitempty"`
}

const (
	maxUserIDs  = 100                 // in the parameter ids
	maxUserPart = chat.MaxDisplayName // characters in the parameter q
)

// listUsers lists users whom the caller may know: GET /api/users.
func (s *Server) listUsers(w http.ResponseWriter, r *http.Request) error {
	id, err := s.caller(w, r)
	if err != nil {
		return err
	}
	q, err := web.Query(r, "guildId", "q", "ids", "limit", "after")
	if err != nil {
		return err
	}
	list := db.UserQuery{
		User: id.UserID, Guilds: id.Guilds, Like: strings.ToLower(q.Get("q")),
		After: q.Get("after"),
	}
	if list.Limit, err = web.PageLimit(q); err != nil {
		return err
	}
	var wrong []web.FieldError
	if utf8.RuneCountInString(list.Like) > maxUserPart || !utf8.ValidString(list.Like) {
		wrong = append(wrong, web.FieldError{Field: "q", Detail: "must be text of 64 characters at most"})
	}
	if list.After != "" && !chat.ValidID(list.After) {
		wrong = append(wrong, web.FieldError{
			Field: "after", Detail: "must be the value of next in an earlier page",
		})
	}
	ids := web.Strings(q, "ids")
	if len(ids) > maxUserIDs || slices.ContainsFunc(ids, func(id string) bool { return !chat.ValidID(id) }) {
		wrong = append(wrong, web.FieldError{
			Field:  "ids",
			Detail: "must be 1 to 100 ids of users, separated by commas",
		})
	}
	if ids != nil && (list.Like != "" || list.After != "") {
		wrong = append(wrong, web.FieldError{Field: "ids", Detail: "cannot be used together with q or after"})
	}
	if guild := q.Get("guildId"); guild != "" {
		wrong = append(wrong, checkID("guildId", guild)...)
		if !id.MayEnter(guild) {
			return web.NewProblem(http.StatusForbidden, "guild_forbidden", "your token is not for this guild")
		}
		list.Guilds = []string{guild}
	}
	if len(wrong) > 0 {
		return web.Malformed(wrong...)
	}
	var found []db.ListedUser
	next := ""
	if ids != nil {
		found, err = s.db.UsersByID(r.Context(), list, ids)
	} else {
		found, next, err = s.db.ListUsers(r.Context(), list)
	}
	if err != nil {
		return err
	}
	answer := usersAnswer{Items: make([]userItem, len(found))}
	for i, u := range found {
		answer.Items[i] = userItem{u.ID, u.Kind, u.DisplayName}
	}
	if next != "" {
		answer.Next = &next
	}
	return web.WriteJSON(w, http.StatusOK, answer)
}

type usersAnswer struct {
	Items []userItem `json:"items"`
	Next  *string    `json:"next"`
}

// changeMe sets the caller's display name or kind: PATCH /api/me.
func (s *Server) changeMe(w http.ResponseWriter, r *http.Request) error {
	id, err := s.caller(w, r)
	if err != nil {
		return err
	}
	if _, err := web.Query(r); err != nil {
		return err
	}
	body, err := web.Decode[struct {
		DisplayName *string `json:"displayName"`
		Kind        *string `json:"kind"`
	}](w, r)
	if err != nil {
		return err
	}
	if body.DisplayName == nil && body.Kind == nil {
		return web.Malformed(web.FieldError{
			Field:  "displayName",
			Detail: "is missing: send displayName, kind or both",
		})
	}
	var u db.User
	err = s.db.InTx(r.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		if u, err = tx.LockUser(ctx, id.UserID); err != nil {
			return err
		}
		changed := false
		if body.Kind != nil {
			if changed, err = turnInto(&u, events.UserKind(*body.Kind)); err != nil {
				return err
			}
		}
		if body.DisplayName != nil {
			renamed, err := rename(ctx, tx, &u, *body.DisplayName)
			if err != nil {
				return err
			}
			changed = changed || renamed
		}
		if !changed {
			return nil
		}
		return tx.SaveUser(ctx, u)
	})
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, answerMe(id, u))
}

func setByAuthority(field string) error {
	return web.NewProblem(http.StatusConflict, "set_by_authority",
		"%s: your token or Center says what it is, so only a newer token or Center can change it", field)
}

// turnInto sets a user's kind. A human may become an agent, and never the other way: what an agent wrote must
// not look as if a human had written it.
func turnInto(u *db.User, kind events.UserKind) (changed bool, err error) {
	switch {
	case !slices.Contains(events.UserKinds, kind):
		return false, web.Refused(
			web.FieldError{Field: "kind", Detail: "must be one of " + events.Join(events.UserKinds)},
		)
	case kind == u.Kind:
		return false, nil
	case u.KindTold:
		return false, setByAuthority("kind")
	case kind != events.Agent:
		return false, web.Refused(web.FieldError{Field: "kind", Detail: "an agent cannot become a human"})
	}
	u.Kind = kind
	return true, nil
}

// rename sets a user's display name; an empty name removes it.
func rename(ctx context.Context, tx db.Tx, u *db.User, name string) (changed bool, err error) {
	now := ""
	if u.DisplayName != nil {
		now = *u.DisplayName
	}
	switch {
	case name == now:
		return false, nil
	case u.NameTold:
		return false, setByAuthority("displayName")
	case name == "":
		u.DisplayName = nil
		return true, nil
	case !chat.ValidDisplayName(name):
		return false, web.Refused(web.FieldError{
			Field: "displayName",
			Detail: "must have 1 to 64 characters, at least one of them visible, and no control " +
				"character, line end or direction mark",
		})
	}
	taken, err := tx.IsIDOfAnother(ctx, name, u.ID)
	if err == nil && taken {
		err = web.Refused(web.FieldError{Field: "displayName", Detail: "is the id of another user"})
	}
	u.DisplayName = &name
	return err == nil, err
}

// A teller stores what the authority says of the users who send requests. It remembers for a minute what it
// has stored, so that most requests need no statement. The zero value is ready.
type teller struct {
	storing singleflight.Group // so that no request with the same token goes on before it is stored

	mu   sync.Mutex
	told map[told]time.Time // when each of them was stored
}

type told struct {
	user string
	says auth.Claim
}

const (
	tellAgain = time.Minute
	toldKept  = 16 << 10 // a server forgets all of them beyond that
)

// knows reports whether what a token says was stored within the last minute.
func (x *teller) knows(key told) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	at, ok := x.told[key]
	return ok && time.Since(at) < tellAgain
}

// stored notes that what a token says has been stored.
func (x *teller) stored(key told) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.told == nil || len(x.told) >= toldKept {
		x.told = map[told]time.Time{}
	}
	x.told[key] = time.Now()
}

// tell stores what the authority says of the user of a request. It blocks until that is stored, so that a
// post with a token of an agent is a post by an agent.
func (s *Server) tell(ctx context.Context, id auth.Identity) error {
	key := told{id.UserID, id.Says}
	if id.Says.Kind == "" && id.Says.Name == "" || s.teller.knows(key) {
		return nil
	}
	_, err, _ := s.teller.storing.Do(fmt.Sprint(key), func() (any, error) {
		t := db.Told{User: id.UserID, Kind: id.Says.Kind, Name: id.Says.Name}
		if id.Says.IssuedAt > 0 {
			t.At = time.Unix(id.Says.IssuedAt, 0)
		}
		err := s.db.TellUser(context.WithoutCancel(ctx), t) // other requests wait for it, too
		if err == nil {
			s.teller.stored(key)
		}
		return nil, err
	})
	return err
}
