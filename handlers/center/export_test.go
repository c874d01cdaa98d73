package center

import (
	"context"
	"net"
)

// DialBy makes the client connect with dial, for a Center without a socket.
func (c *Client) DialBy(dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	c.transport.DialContext = dial
}

// Bound sets the capacities of the token caches.
func (c *Client) Bound(active, inactive int) {
	c.active.limit, c.inactive.limit = active, inactive
}

// Remembered returns how many tokens are cached.
func (c *Client) Remembered() (active, inactive int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active.order.Len(), c.inactive.order.Len()
}

// Addresses returns how many client addresses the gate holds.
func (c *Client) Addresses() int {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	return len(c.gate.addresses)
}
