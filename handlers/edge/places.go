package edge

import (
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"fabric-guild/handlers/web"
)

// Places limits how many streams a server holds at once, in total and from one address. 0 means no limit. The
// router limits the streams of one user.
type Places struct {
	total, perAddress int
	logger            *slog.Logger

	mu     sync.Mutex
	taken  int
	byAddr map[netip.Addr]int // empty if perAddress is 0
	told   time.Time          // when a full server was last logged
}

// NewPlaces returns the limit of streams. It logs when all places are taken.
func NewPlaces(total, perAddress int, logger *slog.Logger) *Places {
	return &Places{total: total, perAddress: perAddress, logger: logger, byAddr: map[netip.Addr]int{}}
}

// Take takes a place for a stream from an address. The caller must call Leave when the stream has ended. The
// error is a *web.Problem: there is no place.
func (p *Places) Take(from netip.Addr) error {
	from = householdOf(from)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.perAddress > 0 && p.byAddr[from] >= p.perAddress {
		err := web.NewProblem(http.StatusTooManyRequests, "too_many_streams",
			"your address has %d streams and waiting requests, which is the limit", p.perAddress)
		err.RetryAfter = 5
		return err
	}
	if p.total > 0 && p.taken >= p.total {
		if now := time.Now(); now.Sub(p.told) > time.Minute { // many clients retry at once: log one line
			p.told = now
			p.logger.Warn("all places for streams are taken; raise -max-streams, or add a server",
				"max_streams", p.total)
		}
		err := web.NewProblem(http.StatusServiceUnavailable, "server_full",
			"this server has no place for another stream or waiting request; try another server, or try "+
				"later")
		err.RetryAfter = 5
		return err
	}
	p.taken++
	if p.perAddress > 0 {
		p.byAddr[from]++
	}
	return nil
}

// Taken returns how many places are taken.
func (p *Places) Taken() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}

// Leave gives back a place that Take gave to a stream from the same address.
func (p *Places) Leave(from netip.Addr) {
	from = householdOf(from)
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
