package db

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// A Doorbell says that the event log may have grown, or that a number was decided. A ring may be lost:
// readers poll as well. Commits of this server ring it in the process. NOTIFY carries the rings between
// servers, with events. It is outside of every mutation's transaction, because a commit with a NOTIFY takes a
// lock of the whole cluster.
type Doorbell struct {
	node  string        // distinguishes this server's rings from the others'
	here  chan struct{} // for this server's tailer
	there chan struct{} // for the other servers
	asked chan struct{} // another server asks who is there
	wakes wakeRings

	outbox outbox
	hear   atomic.Pointer[func(*events.Signal)]     // see OnSignal
	closed atomic.Pointer[func([sessionBytes]byte)] // see OnClosed

	outgoing outgoing // what the next ring for the other servers carries

	line atomic.Pointer[line]        // nil: this server does not listen
	take atomic.Pointer[func() bool] // see OnEvents

	// Each server sends a hello at this interval, and when a new server asks who is there. A server that has
	// not heard another one for a while sends no rings: a NOTIFY costs a fifth of a post.
	hello time.Duration
	born  time.Time
	quiet atomic.Int64 // when another server was heard last, counted from born; unheard: it cannot hear any
	// unanswered is how many hellos of this server in a row did not come back to it. Only this number
	// distinguishes a dead connection from other servers that are silent.
	unanswered atomic.Int32
}

const (
	helloInterval = 5 * time.Second
	// After this many missed hellos in a row there is no other server. If they were this server's own hellos,
	// its connection is dead.
	helloMissed = 3
	// answerWait is how long the others have to answer a new server. If an answer comes later, they find the
	// new server's events by polling until then.
	answerWait = 2 * time.Second
	unheard    = math.MaxInt64
)

func newDoorbell() *Doorbell {
	b := &Doorbell{
		node: uuid.NewString(), here: make(chan struct{}, 1), there: make(chan struct{}, 1),
		asked: make(chan struct{}, 1),
		hello: helloInterval, born: time.Now(), outbox: newOutbox(),
		wakes: wakeRings{ready: make(chan struct{}, 1), users: map[string]struct{}{}},
	}
	b.quiet.Store(unheard)
	return b
}

// alone reports whether there is no other server to ring for. It is false if this server's connection may be
// dead.
func (b *Doorbell) alone() bool {
	const onTheWay = 1
	if b.unanswered.Load() > onTheWay {
		return false
	}
	return int64(time.Since(b.born))-helloMissed*int64(b.hello) > b.quiet.Load()
}

// heard records that there may be another server.
func (b *Doorbell) heard() { b.quiet.Store(int64(time.Since(b.born))) }

// awaitAnswers is for a server that has asked who is there: it is not alone until the others have had time
// for an answer.
func (b *Doorbell) awaitAnswers() {
	b.quiet.Store(int64(time.Since(b.born) + answerWait - helloMissed*b.hello))
}

// Bell returns a channel that receives after a ring. Several rings may arrive as one.
func (b *Doorbell) Bell() <-chan struct{} { return b.here }

// Hears reports whether rings of other servers reach this one. If not, polling finds their events.
func (b *Doorbell) Hears() bool { return b.quiet.Load() != unheard }

// ring signals this server's tailer, and the notifier if there may be another server. It never blocks.
func (b *Doorbell) ring() {
	signal(b.here)
	if !b.alone() {
		signal(b.there)
	}
}

// ringToRead rings for what only a read of the event log can tell: a commit with an event that is not known,
// or a rollback, which decides a number.
func (d *DB) ringToRead() {
	d.known.suspect()
	d.outgoing.omit()
	d.ring()
}

// signal makes c receive once. It never blocks.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

const (
	// Retries of a doorbell that does not work back off: it may never work.
	listenRetryMin, listenRetryMax = time.Second, 30 * time.Second

	notifyTimeout = 5 * time.Second
	notifyPause   = time.Millisecond // commits within this time share one ring
)

// RunDoorbell carries rings to and from other servers until ctx ends. If url leads to a pooler or to another
// database, RunDoorbell logs that once, and readers find events by polling.
func (d *DB) RunDoorbell(ctx context.Context, url string, logger *slog.Logger) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { d.notifyOthers(ctx) })
	wg.Go(func() { d.sendSignals(ctx) })
	var retry time.Duration
	for ctx.Err() == nil {
		err := d.listen(ctx, url, func() {
			if retry > 0 {
				logger.Info("doorbell works again")
			}
			retry = 0
		})
		if ctx.Err() == nil && retry == 0 {
			logger.Warn("doorbell failed; polling finds new events, and activity of other servers is "+
				"not shown", "error", err)
		}
		retry = min(max(2*retry, listenRetryMin), listenRetryMax)
		wait(ctx, retry)
	}
}

// notifyOthers sends one ring for all the commits since the last one, and a hello at each interval.
func (d *DB) notifyOthers(ctx context.Context) {
	hello := time.NewTicker(d.hello)
	defer hello.Stop()
	var sent time.Time
	for {
		var hellos int32
		var payloads []string
		select {
		case <-d.Doorbell.there:
			if d.alone() {
				continue
			}
			if l := d.line.Load(); l != nil {
				l.settle(ctx, d.hello)
			}
			// A pause before the ring costs no wakeup if the commits are far enough apart.
			if left := notifyPause - time.Since(sent); left > 0 {
				wait(ctx, left)
			}
			if payloads = d.rings(ctx); len(payloads) == 0 {
				continue
			}
		case <-d.wakes.ready:
			d.ringWakesOfOthers(ctx)
			wait(ctx, notifyPause)
			continue
		case <-d.asked:
			payloads = []string{d.node}
		case <-hello.C:
			hellos = 1
			payloads = []string{d.node}
		case <-ctx.Done():
			return
		}
		// If it fails, the ring is lost, and the others poll.
		if d.notify(ctx, payloads) == nil {
			d.missed(hellos)
		}
		sent = time.Now()
	}
}

// missed counts hellos of this server that have not come back yet. Too many mean that its connection is dead.
func (d *DB) missed(hellos int32) {
	l := d.line.Load()
	if d.unanswered.Add(hellos) >= helloMissed && l != nil {
		l.hangUp()
	}
}

// notify sends notifications to the other servers, in one transaction. Without a line it uses the pool: this
// server hears nobody then, and others may hear it.
func (d *DB) notify(ctx context.Context, payloads []string) error {
	if len(payloads) == 0 {
		return nil
	}
	if l := d.line.Load(); l != nil {
		return l.send(payloads)
	}
	return d.notifyByPool(ctx, payloads)
}

func (d *DB) notifyByPool(ctx context.Context, payloads []string) error {
	const send = `
		SELECT set_config('synchronous_commit', 'off', true), count(pg_notify($1, n))
			FROM unnest($2::text[]) AS n`
	ctx, cancel := context.WithTimeout(ctx, notifyTimeout)
	defer cancel()
	_, err := d.conn.Exec(ctx, send, doorbellChannel, payloads)
	return err
}

// listen takes the notifications of other servers, until the connection ends or is found dead. It calls
// connected once it hears its own ring.
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
		return cmp.Or(err, errPooled) // LISTEN would make a process that other clients use listen
	}
	l, err := newLine(ctx, conn)
	if err != nil {
		return err
	}
	if err := d.testBell(ctx, conn); err != nil {
		return err
	}
	d.unanswered.Store(0)
	d.line.Store(l)
	defer d.line.Store(nil)
	connected()
	d.known.suspect() // events from before the LISTEN
	signal(d.here)
	d.awaitAnswers()
	defer d.quiet.Store(unheard)
	defer context.AfterFunc(ctx, l.hangUp)()
	for {
		payload, err := l.receive()
		switch {
		case err == nil && strings.HasPrefix(payload, d.node):
			l.cameBack()
			d.unanswered.Store(0)
		case err == nil:
			d.hears(ctx, payload)
		case d.unanswered.Load() >= helloMissed:
			return errDeafened
		default:
			return err
		}
	}
}

// hears takes what another server says. It believes only what is sealed. From anybody else it takes only that
// the event log may have grown.
func (d *DB) hears(ctx context.Context, payload string) {
	d.heard()
	if strings.HasSuffix(payload, question) {
		signal(d.asked)
	}
	l := d.open(ctx, payload)
	switch l.kind {
	case letterSignals:
		d.hearSignals(l.text)
		return
	case letterWakes:
		d.hearWakes(l.text)
		return
	case letterSessions:
		d.hearClosed(l.text)
		return
	case letterEvents:
		if !d.hearEvents(l) {
			d.known.suspect()
		}
	default:
		d.known.suspect()
	}
	if take := d.take.Load(); take == nil || !(*take)() {
		signal(d.here)
	}
}

// OnEvents sets the function that is called when another server has rung. It takes the events that Known
// returns, and must not block. It returns false if the tailer must look.
func (b *Doorbell) OnEvents(take func() bool) { b.take.Store(&take) }

// hangUp closes a connection. It works after ctx has ended, too.
func hangUp(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// wait blocks for d, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
