package center

import (
	"context"
	"net"
)

// DialBy makes the client connect by dial, for a Center that has no socket.
func (c *Client) DialBy(dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	c.transport.DialContext = dial
}

// Bound sets how many tokens are remembered.
func (c *Client) Bound(active, inactive int) {
	c.active.limit, c.inactive.limit = active, inactive
}

// Remembered is how many tokens are remembered.
func (c *Client) Remembered() (active, inactive int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active.order.Len(), c.inactive.order.Len()
}

// Addresses is how many client addresses are remembered.
func (c *Client) Addresses() int {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	return len(c.gate.addresses)
}
