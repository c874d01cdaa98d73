package auth

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"fabric-guild/events"
	"fabric-guild/handlers/center"
	"fabric-guild/handlers/web"
)

// An Identity says who a request comes from, according to the request's token.
type Identity struct {
	UserID  string
	Guilds  []string  // the guilds that the token is for; nil: all guilds
	Expires time.Time // zero: the authority gave no expiry
	Session SessionID // the session of the token's cookie; zero: the token did not come in a cookie
	Says    Claim     // what the authority says of the user
	proof   string    // what the authority needs to check the token again
}

// A Claim is what an authority says of a user. It is comparable.
type Claim struct {
	Kind events.UserKind // empty: the authority does not say
	Name string          // the display name; empty: the authority does not say, or the name is not valid
	// IssuedAt is when the token was issued, in seconds since 1970. Of two claims the newer one counts. 0:
	// the authority says what holds now.
	IssuedAt int64
}

// MayEnter reports whether the token gives access to a guild.
func (id Identity) MayEnter(guild string) bool {
	return id.Guilds == nil || slices.Contains(id.Guilds, guild)
}

// An Authority knows which user a token belongs to. It is either Tokens or Center.
type Authority interface {
	// Check returns the identity of a token's user. An error that is a *web.Problem is the answer to the
	// client. from is the client's address. The zero Addr stands for all clients that the server cannot
	// distinguish.
	Check(ctx context.Context, from netip.Addr, token string) (Identity, error)
	// Revoked reports whether a stream that was opened as id must end. If the authority cannot tell, Revoked
	// returns false: an outage must not end every stream.
	Revoked(ctx context.Context, id Identity) bool
}

// ByCenter returns the authority that asks Center.
func ByCenter(c *center.Client) Authority { return byCenter{c} }

// byCenter implements Authority with Center.
type byCenter struct{ *center.Client }

func (c byCenter) Check(ctx context.Context, from netip.Addr, token string) (Identity, error) {
	id, err := c.Introspect(ctx, from, token)
	switch {
	case errors.Is(err, center.ErrTooManyNew):
		p := web.NewProblem(http.StatusTooManyRequests, "too_many_sign_ins",
			"too many unknown tokens came from your address; try again later, with a valid token")
		p.RetryAfter = 1
		return Identity{}, p
	case errors.Is(err, center.ErrInactive):
		return Identity{}, ErrTokenInvalid
	case errors.Is(err, center.ErrUnavailable):
		p := web.NewProblem(http.StatusServiceUnavailable, "center_unavailable",
			"Center does not answer, so the server cannot check the token; try again")
		p.RetryAfter = 2
		return Identity{}, p
	}
	return Identity{
		UserID: id.UserID, Guilds: id.Guilds, Expires: id.Expires,
		Says: Claim{id.Kind, id.DisplayName, id.IssuedAt}, proof: token,
	}, err
}

func (c byCenter) Revoked(ctx context.Context, id Identity) bool {
	return c.Recheck(ctx, id.proof,
		center.Identity{UserID: id.UserID, Guilds: id.Guilds, Expires: id.Expires})
}
