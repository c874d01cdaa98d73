package live_test

import (
	"fabric-guild/events/live"
	"fabric-guild/events/transport"
)

func init() {
	live.UseTransports(transport.ServeConn, transport.WriteTimeout, transport.ServeRaw,
		transport.NewR3labs().Serve)
}
