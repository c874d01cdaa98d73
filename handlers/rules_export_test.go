package handlers

import (
	"context"
	"net/netip"

	"fabric-guild/handlers/center"
)

// CheckByCenter is what a request and then every heartbeat of a stream do with a token. The second is asked
// of another client, whose memory is empty: what the first knows lasts longer than a test should.
func CheckByCenter(ctx context.Context, c *center.Client, token string) (id Identity, revoked func(later *center.Client) bool, err error) {
	id, err = byCenter{c}.Check(ctx, netip.Addr{}, token)
	return id, func(later *center.Client) bool { return byCenter{later}.Revoked(ctx, id) }, err
}
