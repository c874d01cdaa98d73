package metrics

import (
	"context"
	"sync/atomic"
	"time"
)

// Wakes counts what this server did with the wake queue.
type Wakes struct {
	Claims  atomic.Int64 // wakes handed out
	Expired atomic.Int64 // of them, those whose earlier lease ended without an answer
	Replies atomic.Int64 // wakes that ended with a reply
	Fenced  atomic.Int64 // requests of workers who had lost their wake
	Trips   atomic.Int64 // messages of agents, posted here, that tripped the loop guard
	Waiting func() int   // claims that wait now
}

// queueTimeout bounds how long a scrape waits for Postgres.
const queueTimeout = time.Second

func (c *collector) wakes(e emitter) {
	e.counter("wake_claims_total", "Wakes that this server handed out.", float64(c.Wakes.Claims.Load()))
	e.counter("wake_leases_expired_total", "Wakes handed out again because a lease ended without an answer.",
		float64(c.Wakes.Expired.Load()))
	e.counter("wake_replies_total", "Wakes that ended with a reply.", float64(c.Wakes.Replies.Load()))
	e.counter("wake_fenced_total", "Requests refused because the worker had lost its wake.",
		float64(c.Wakes.Fenced.Load()))
	e.counter("guard_trips_total", "Messages posted here that tripped the loop guard of their channel.",
		float64(c.Wakes.Trips.Load()))
	e.gauge("wake_claims_waiting", "Claims that wait on this server.", float64(c.Wakes.Waiting()))
	ctx, cancel := context.WithTimeout(context.Background(), queueTimeout)
	defer cancel()
	total, err := c.DB.QueueTotals(ctx)
	if err != nil {
		return // db_pool_gave_up_total and readyz tell that Postgres does not answer
	}
	const help = "Wakes in the queues of all users, by state: pending, claimed, or dead and not hidden."
	e.gauge("wakes", help, float64(total.Pending), "state", "pending")
	e.gauge("wakes", help, float64(total.Claimed), "state", "claimed")
	e.gauge("wakes", help, float64(total.Dead), "state", "dead")
	e.gauge("wake_oldest_pending_seconds", "Age of the oldest message that is due and that nobody works "+
		"on; 0: there is none.", total.OldestPending.Seconds())
}
