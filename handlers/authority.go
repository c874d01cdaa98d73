package handlers

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"fabric-guild/handlers/center"
	"fabric-guild/handlers/chat"
)

// An Identity is who a request comes from, as its token says.
type Identity struct {
	UserID  string
	Guilds  []string  // those that the token is for; nil: all
	Expires time.Time // zero: not said
	proof   string    // what its authority knows it by again
	session sessionID // of the cookie that it came in; zero: it came in none
}

// MayEnter reports whether the token is for a guild.
func (id Identity) MayEnter(guild string) bool {
	return id.Guilds == nil || slices.Contains(id.Guilds, guild)
}

// An authority knows whose a token is: Tokens, or Center.
type authority interface {
	// Check tells who a token is of; a *problem is for its bearer. from is the bearer's address; the zero Addr: that
	// of a peer who connects for many clients.
	Check(ctx context.Context, from netip.Addr, token string) (Identity, error)
	// Revoked reports whether a stream that was opened as id has to end. Where that is not known, it has not.
	Revoked(ctx context.Context, id Identity) bool
}

// byCenter is Center as the authority.
type byCenter struct{ *center.Client }

func (c byCenter) Check(ctx context.Context, from netip.Addr, token string) (Identity, error) {
	id, err := c.Introspect(ctx, from, token)
	switch {
	case errors.Is(err, center.ErrTooManyNew):
		p := newProblem(http.StatusTooManyRequests, "too_many_sign_ins",
			"too many tokens that are not known came from your address; try again later, with a valid token")
		p.retryAfter = 1
		return Identity{}, p
	case errors.Is(err, center.ErrInactive):
		return Identity{}, errTokenInvalid
	case errors.Is(err, center.ErrUnavailable):
		p := newProblem(http.StatusServiceUnavailable, "center_unavailable", "whose token this is cannot be found out at the moment; try again")
		p.retryAfter = 2
		return Identity{}, p
	}
	return Identity{UserID: id.UserID, Guilds: id.Guilds, Expires: id.Expires, proof: token}, err
}

func (c byCenter) Revoked(ctx context.Context, id Identity) bool {
	return c.Recheck(ctx, id.proof, center.Identity{UserID: id.UserID, Guilds: id.Guilds, Expires: id.Expires})
}

// resolve returns the ids of names. Without Center a name is its own id.
func (s *Server) resolve(ctx context.Context, names []string) map[string]string {
	if s.center != nil {
		return s.center.ResolveNames(ctx, names)
	}
	ids := map[string]string{}
	for _, name := range names {
		if chat.ValidID(name) {
			ids[name] = name
		}
	}
	return ids
}
