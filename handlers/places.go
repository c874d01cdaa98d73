package handlers

import (
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// places bounds the streams that a server holds at once: all of them, and those from one address. 0 is no
// bound. The bound of a user's is the router's.
type places struct {
	total, perAddress int
	logger            *slog.Logger

	mu     sync.Mutex
	taken  int
	byAddr map[netip.Addr]int // where perAddress counts
	told   time.Time
}

func newPlaces(total, perAddress int, logger *slog.Logger) *places {
	return &places{total: total, perAddress: perAddress, logger: logger, byAddr: map[netip.Addr]int{}}
}

// take takes a place for a stream from an address, which is to leave it again. The error is a refusal.
func (p *places) take(from netip.Addr) error {
	from = household(from)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.perAddress > 0 && p.byAddr[from] >= p.perAddress {
		err := newProblem(http.StatusTooManyRequests, "too_many_streams", "%d streams come from your address already, and it may have no more", p.perAddress)
		err.retryAfter = 5
		return err
	}
	if p.total > 0 && p.taken >= p.total {
		if now := time.Now(); now.Sub(p.told) > time.Minute { // many will come back at once
			p.told = now
			p.logger.Warn("all places for streams are taken; raise -max-streams, or add a server", "max_streams", p.total)
		}
		err := newProblem(http.StatusServiceUnavailable, "server_full", "this server holds as many streams as it may; come back to another, or later")
		err.retryAfter = 5
		return err
	}
	p.taken++
	if p.perAddress > 0 {
		p.byAddr[from]++
	}
	return nil
}

func (p *places) leave(from netip.Addr) {
	from = household(from)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.perAddress == 0 {
		return
	}
	if p.byAddr[from]--; p.byAddr[from] == 0 {
		delete(p.byAddr, from)
	}
}

// household is the part of an address that one customer of a network has: in IPv6 they have 2^64.
func household(a netip.Addr) netip.Addr {
	if a.Is4() || !a.IsValid() {
		return a
	}
	return netip.PrefixFrom(a, 64).Masked().Addr()
}
