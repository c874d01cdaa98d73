package db

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Doorbell says that the log may have grown or settled. It carries no data, and a ring may be lost:
// readers poll behind it. This node's own commits ring it in the process; NOTIFY carries the rings between
// nodes, outside of every mutation's transaction, since it takes a lock of the whole cluster at commit.
type Doorbell struct {
	here  chan struct{} // for this node's tailer
	there chan struct{} // for the other nodes
}

func newDoorbell() *Doorbell {
	return &Doorbell{here: make(chan struct{}, 1), there: make(chan struct{}, 1)}
}

// Bell receives after rings, any number of them together.
func (b *Doorbell) Bell() <-chan struct{} { return b.here }

// ring never blocks.
func (b *Doorbell) ring() {
	set(b.here)
	set(b.there)
}

func set(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

const (
	listen, notify = `LISTEN fabric_guild`, `SELECT pg_notify('fabric_guild', '')`
	listenRetry    = time.Second
	notifyTimeout  = 5 * time.Second
)

// RunDoorbell carries rings to and from other nodes until ctx ends. url must lead to Postgres itself: a
// pooler in transaction mode accepts LISTEN and never delivers.
func (d *DB) RunDoorbell(ctx context.Context, url string, logger *slog.Logger) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { d.notifyOthers(ctx) })
	for told := false; ctx.Err() == nil; {
		err := d.listen(ctx, url, func() { told = false })
		if ctx.Err() == nil && !told {
			logger.Warn("the doorbell is silent, new events are found by polling", "error", err)
			told = true
		}
		wait(ctx, listenRetry)
	}
}

// notifyOthers sends one NOTIFY for all the commits that came since the last.
func (d *DB) notifyOthers(ctx context.Context) {
	for {
		select {
		case <-d.Doorbell.there:
		case <-ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(ctx, notifyTimeout)
		_, _ = d.conn.Exec(ctx, notify) // lost: the others poll
		cancel()
	}
}

// listen rings here for every notification, until the connection ends.
func (d *DB) listen(ctx context.Context, url string, connected func()) error {
	config, err := parse(url)
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	if _, err := conn.Exec(ctx, listen); err != nil {
		return err
	}
	connected()
	for {
		set(d.Doorbell.here) // the first: for what came before the LISTEN
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
