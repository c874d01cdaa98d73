package db

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A Doorbell says that the log may have grown or settled. It carries no data, and a ring may be lost:
// readers poll behind it. This node's own commits ring it in the process; NOTIFY carries the rings between
// nodes, outside of every mutation's transaction, since it takes a lock of the whole cluster at commit.
type Doorbell struct {
	node  string        // tells this node's own rings from the others'
	here  chan struct{} // for this node's tailer
	there chan struct{} // for the other nodes

	// Each node says now and then that it is there, and one that hears of no other for a while sends no
	// rings: a NOTIFY costs a fifth of a post.
	hello time.Duration
	born  time.Time
	quiet atomic.Int64 // since when no other was heard, from born on; unheard: it can't hear any
	// unanswered is how many hellos this node has sent in a row that did not come back to itself. A line that
	// carries nothing any more is told from others that are silent by that alone.
	unanswered atomic.Int32
}

const (
	helloInterval = 5 * time.Second
	// After this many hellos in a row that did not come there is no other node, or, if they were this node's
	// own, this node is deaf.
	helloMissed = 3
	unheard     = math.MaxInt64
)

func newDoorbell() *Doorbell {
	b := &Doorbell{
		node: uuid.NewString(), here: make(chan struct{}, 1), there: make(chan struct{}, 1),
		hello: helloInterval, born: time.Now(),
	}
	b.quiet.Store(unheard)
	return b
}

// alone reports whether there is no other node to ring for. A node that may be deaf does not know.
func (b *Doorbell) alone() bool {
	const onTheWay = 1
	if b.unanswered.Load() > onTheWay {
		return false
	}
	return int64(time.Since(b.born))-helloMissed*int64(b.hello) > b.quiet.Load()
}

// heard notes that there may be another node.
func (b *Doorbell) heard() { b.quiet.Store(int64(time.Since(b.born))) }

// Bell receives after rings, any number of them together.
func (b *Doorbell) Bell() <-chan struct{} { return b.here }

// Hears reports whether the other nodes' rings reach this one; if not, their events are found by polling.
func (b *Doorbell) Hears() bool { return b.quiet.Load() != unheard }

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
	listen = `LISTEN fabric_guild`
	// A NOTIFY takes a transaction number, and would have its commit written to disk, for nothing.
	notify = `SELECT set_config('synchronous_commit', 'off', true), pg_notify('fabric_guild', $1)`

	// A doorbell that does not work is hung anew, ever less often: it may be one that never will.
	listenRetryMin, listenRetryMax = time.Second, 30 * time.Second

	notifyTimeout = 5 * time.Second
	notifyPause   = time.Millisecond // commits that come within it share one NOTIFY
)

// RunDoorbell carries rings to and from other nodes until ctx ends. Where url does not lead to Postgres itself,
// or leads to another database, it says so once, and readers go by polling.
func (d *DB) RunDoorbell(ctx context.Context, url string, logger *slog.Logger) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { d.notifyOthers(ctx) })
	var retry time.Duration
	for ctx.Err() == nil {
		err := d.listen(ctx, url, func() {
			if retry > 0 {
				logger.Info("the doorbell is heard again")
			}
			retry = 0
		})
		if ctx.Err() == nil && retry == 0 {
			logger.Warn("the doorbell is silent, new events are found by polling", "error", err)
		}
		retry = min(max(2*retry, listenRetryMin), listenRetryMax)
		wait(ctx, retry)
	}
}

// notifyOthers sends one NOTIFY for all the commits that came since the last, and one now and then.
func (d *DB) notifyOthers(ctx context.Context) {
	hello := time.NewTicker(d.hello)
	defer hello.Stop()
	for {
		var hellos int32
		select {
		case <-d.Doorbell.there:
			if d.alone() {
				continue
			}
		case <-hello.C:
			hellos = 1
		case <-ctx.Done():
			return
		}
		timed, cancel := context.WithTimeout(ctx, notifyTimeout)
		if _, err := d.conn.Exec(timed, notify, d.node); err == nil { // else it is lost: the others poll
			d.unanswered.Add(hellos)
		}
		cancel()
		wait(ctx, notifyPause)
	}
}

// listen rings here for every notification, until the connection ends, or carries nothing any more.
func (d *DB) listen(ctx context.Context, url string, connected func()) error {
	config, err := parse(url)
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return err
	}
	defer hangUp(ctx, conn)
	if behind, err := pooled(ctx, conn); behind || err != nil {
		return cmp.Or(err, errPooled) // to LISTEN there would leave a process of others listening
	}
	if _, err := conn.Exec(ctx, listen); err != nil {
		return err
	}
	if err := d.testBell(ctx, conn); err != nil {
		return err
	}
	d.unanswered.Store(0)
	connected()
	set(d.here) // for what came before the LISTEN
	d.heard()   // until the others have had the time to say that they are there
	defer d.quiet.Store(unheard)
	for {
		timed, cancel := context.WithTimeout(ctx, d.hello)
		n, err := conn.WaitForNotification(timed)
		waited := timed.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case err == nil && n.Payload == d.node:
			d.unanswered.Store(0)
		case err == nil:
			d.heard()
			set(d.here)
		case !waited:
			return err
		}
		if d.unanswered.Load() >= helloMissed {
			return errDeafened
		}
	}
}

// hangUp closes a connection, also after ctx has ended.
func hangUp(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
