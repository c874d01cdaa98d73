package db

import (
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// A Pool tells how a pool of connections fares.
type Pool struct {
	Acquired, Idle, Constructing, Max int

	Waits  int64         // times that a caller found none free
	Waited time.Duration // by all of them together, until they had one
	GaveUp int64         // callers that did not wait until they had one
}

// Pools are those of this node: "requests" serves requests, streams that catch up, and the notifier; "tailer"
// the tailer, and who asks whether Postgres answers.
func (d *DB) Pools() map[string]Pool {
	return map[string]Pool{"requests": pool(d.pool.Stat()), "tailer": pool(d.tailer.Stat())}
}

func pool(s *pgxpool.Stat) Pool {
	return Pool{
		Acquired: int(s.AcquiredConns()), Idle: int(s.IdleConns()), Constructing: int(s.ConstructingConns()), Max: int(s.MaxConns()),
		Waits: s.EmptyAcquireCount(), Waited: s.EmptyAcquireWaitTime(), GaveUp: s.CanceledAcquireCount(),
	}
}
