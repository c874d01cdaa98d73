package db

import (
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// A Pool has the counters of a connection pool.
type Pool struct {
	Acquired, Idle, Constructing, Max int

	Waits  int64         // how often a caller found no free connection
	Waited time.Duration // the total time of these waits
	GaveUp int64         // callers that gave up waiting
}

// Pools returns the counters of this server's pools. "requests" serves requests, catch-ups and the notifier.
// "tailer" serves the tailer and health checks.
func (d *DB) Pools() map[string]Pool {
	return map[string]Pool{"requests": poolStats(d.pool.Stat()), "tailer": poolStats(d.tailer.Stat())}
}

func poolStats(s *pgxpool.Stat) Pool {
	return Pool{
		Acquired: int(s.AcquiredConns()), Idle: int(s.IdleConns()),
		Constructing: int(s.ConstructingConns()), Max: int(s.MaxConns()),
		Waits: s.EmptyAcquireCount(), Waited: s.EmptyAcquireWaitTime(), GaveUp: s.CanceledAcquireCount(),
	}
}
