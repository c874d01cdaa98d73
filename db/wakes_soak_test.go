package db_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

var wakeSoak = flag.Duration("wakes", 4*time.Second, "how long TestWakesUnderFaults makes faults")

// poison is the text of a message that no worker can answer.
const poison = "poison"

// A wakeWorld is the world of TestWakesUnderFaults.
type wakeWorld struct {
	t        *testing.T
	url      string
	nodes    []atomic.Pointer[lifeNode]
	agents   []string
	channels []uuid.UUID // channel i has ann and agent i; the last ones have ann and all agents

	replies, crashes, lost, kills atomic.Int64
}

func (w *wakeWorld) node(rng *rand.Rand) *lifeNode { return w.nodes[rng.IntN(len(w.nodes))].Load() }

// Agents with two workers each answer what wakes them, on three servers. Workers crash and are late, leases
// last a second, servers and Postgres are killed. At the end each waking message is covered by exactly one
// finished wake, each reply stands once, and the only dead wakes are those of messages that nobody can
// answer.
func TestWakesUnderFaults(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	agents := 6
	if *wakeSoak > time.Minute {
		agents = 50
	}
	cluster := dbtest.NewCluster(t)
	w := &wakeWorld{t: t, url: cluster.URL(), nodes: make([]atomic.Pointer[lifeNode], 3)}
	for i := range w.nodes {
		w.open(i)
	}
	for i := range agents {
		w.agents = append(w.agents, fmt.Sprint("agent", i))
	}
	first := w.nodes[0].Load().db
	for _, agent := range w.agents {
		channel, _ := create(t, first, "ann", agent)
		w.channels = append(w.channels, channel)
	}
	for range 3 {
		channel, _ := create(t, first, append([]string{"ann"}, w.agents...)...)
		w.channels = append(w.channels, channel)
	}
	for _, agent := range w.agents {
		at := position(t, first)
		if _, err := first.Claim(t.Context(), db.WakeClaim{
			User: agent, Create: true, Since: at.Seq, At: at, Lease: time.Second, Limit: 100,
		}); err != nil {
			t.Fatal(err)
		}
	}

	faults, calm := context.WithCancel(t.Context())
	all, end := context.WithCancel(t.Context())
	var working, writing sync.WaitGroup
	for i, agent := range w.agents {
		for k := range 2 {
			working.Go(func() { w.work(all, faults, agent, rand.New(rand.NewPCG(uint64(i), uint64(k)))) })
		}
	}
	for i := range 3 {
		writing.Go(func() { w.write(faults, i) })
	}
	writing.Go(func() {
		rng := rand.New(rand.NewPCG(7, 7))
		for n := 0; faults.Err() == nil; n++ {
			pause(faults, time.Second+time.Duration(rng.IntN(1000))*time.Millisecond)
			if n%3 == 2 {
				_ = syscall.Kill(cluster.Pid(), syscall.SIGKILL)
				w.kills.Add(1)
				continue
			}
			w.open(rng.IntN(len(w.nodes)))
		}
	})
	pause(t.Context(), *wakeSoak)
	calm()
	writing.Wait()
	conn := w.connect()
	drained := func() bool {
		for _, agent := range w.agents {
			d := w.nodes[0].Load().db
			at, err := d.Head(t.Context())
			if err != nil {
				return false
			}
			if behind, err := d.ScanWakes(t.Context(), agent, at); behind || err != nil {
				return false
			}
		}
		var left int
		err := conn.QueryRow(t.Context(), `SELECT count(*) FROM wakes`).Scan(&left)
		return err == nil && left == 0
	}
	deadline := time.Now().Add(10 * time.Minute)
	for !drained() {
		if time.Now().After(deadline) {
			t.Error("the queues do not drain")
			break
		}
		// Time passes faster: pauses end.
		_, _ = conn.Exec(t.Context(),
			`UPDATE wakes SET not_before = clock_timestamp() WHERE not_before > clock_timestamp()`)
		_ = w.nodes[0].Load().db.SweepWakes(t.Context(), position(t, w.nodes[0].Load().db))
		pause(t.Context(), 100*time.Millisecond)
	}
	end()
	working.Wait()
	w.verify(conn)
	t.Logf("%d replies, %d crashed workers, %d fenced, %d kills of Postgres",
		w.replies.Load(), w.crashes.Load(), w.lost.Load(), w.kills.Load())
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timed, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-timed.Done()
}

// connect connects as soon as Postgres answers.
func (w *wakeWorld) connect() *pgx.Conn {
	w.t.Helper()
	var conn *pgx.Conn
	eventually(w.t, "Postgres answers", func() (ok bool) {
		var err error
		conn, err = pgx.Connect(w.t.Context(), w.url)
		return err == nil
	})
	w.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// open starts a server in a place, and closes the one before it: its requests in progress fail.
func (w *wakeWorld) open(i int) {
	if old := w.nodes[i].Load(); old != nil {
		old.close()
	}
	eventually(w.t, "Postgres answers", func() bool {
		d, err := db.Open(w.t.Context(), w.url)
		if err != nil {
			return false
		}
		_, err = d.Head(w.t.Context())
		d.Close()
		return err == nil
	})
	n := newLifeNode(w.t, w.url)
	n.wake()
	w.nodes[i].Store(n)
}

// write posts until ctx ends. One message in a hundred is poison, only in channels with one agent.
func (w *wakeWorld) write(ctx context.Context, writer int) {
	rng := rand.New(rand.NewPCG(uint64(writer), 99))
	for n := 0; ctx.Err() == nil; n++ {
		i := rng.IntN(len(w.channels))
		text := fmt.Sprint("work ", writer, " ", n)
		if i < len(w.agents) && rng.IntN(100) == 0 {
			text = poison
		}
		m := newMessage(w.channels[i], "ann", text)
		m.TwoState = rng.IntN(2) == 0
		// if it fails, nobody or somebody has to answer it: the database tells
		_, _ = w.node(rng).db.Post(ctx, m)
		pause(ctx, time.Duration(rng.IntN(20))*time.Millisecond)
	}
}

// work claims and answers until ctx ends. Until faults ends, it crashes, hangs and is late.
func (w *wakeWorld) work(ctx, faults context.Context, agent string, rng *rand.Rand) {
	for ctx.Err() == nil {
		n := w.node(rng)
		a, err := n.db.Claim(ctx, db.WakeClaim{
			Rung: rng.IntN(2) == 0, // shares its transaction with others
			User: agent, Lease: time.Second, Limit: 1 + rng.IntN(20), At: n.router.Position(),
		})
		for _, part := range a.Dead {
			_, _ = n.db.BuryWake(ctx, part)
		}
		if err != nil || a.Wake == nil {
			pause(ctx, 50*time.Millisecond)
			continue
		}
		// Five faults in a row would make a wake die, so each wake meets two at most.
		faulty := faults.Err() == nil && a.Wake.Attempt <= 2
		switch dice := rng.IntN(10); {
		case faulty && dice < 2: // it crashes
			w.crashes.Add(1)
			continue
		case faulty && dice == 2: // it is late
			pause(ctx, time.Duration(500+rng.IntN(1500))*time.Millisecond)
		}
		if !faulty && !w.keep(ctx, agent, a.Wake.ID, rng) {
			continue
		}
		w.answer(ctx, agent, a.Wake, rng, faulty)
	}
}

// keep extends a lease to a minute, until a server has answered. A worker without faults of its own must not
// lose its wake because servers and Postgres are killed while the machine is busy: five such attempts would
// make the wake die.
func (w *wakeWorld) keep(ctx context.Context, agent string, wake uuid.UUID, rng *rand.Rand) bool {
	for ctx.Err() == nil {
		_, err := w.node(rng).db.ExtendWake(ctx, db.WakeRef{User: agent, ID: wake}, time.Minute, nil)
		if err == nil {
			return true
		}
		if errors.Is(err, db.ErrWakeLost) {
			w.lost.Add(1)
			return false
		}
		pause(ctx, 50*time.Millisecond)
	}
	return false
}

// answer ends a wake in one of the ways of a worker.
func (w *wakeWorld) answer(ctx context.Context, agent string, wake *db.Wake, rng *rand.Rand, faulty bool) {
	d := w.node(rng).db
	ref := db.WakeRef{User: agent, ID: wake.ID}
	m := newMessage(wake.Shown.Channel.ID, agent, "re <@ann>", "ann") // wakes no other agent
	m.Reply = &db.Reply{Wake: wake.ID, Lease: time.Second}
	fails, err := w.poisoned(ctx, d, agent, wake)
	if err != nil {
		return
	}
	switch dice := rng.IntN(20); {
	case fails:
		_, err = d.NackWake(ctx, ref, db.Nack{Error: poison}, 1)
	case faulty && dice == 0:
		delay := 100 * time.Millisecond
		_, err = d.NackWake(ctx, ref, db.Nack{Delay: &delay}, 1)
	case faulty && dice == 1: // and does not come back
		m.Reply.Keep = true
		_, err = d.Post(ctx, m)
	case faulty && dice == 2:
		_, err = d.ExtendWake(ctx, ref, time.Second, nil)
	default:
		_, err = d.Post(ctx, m)
		// the answer is unknown: the worker sends it again
		for errors.Is(err, db.ErrUnavailable) && ctx.Err() == nil {
			pause(ctx, 50*time.Millisecond)
			m.ID = uuid.Must(uuid.NewV7())
			_, err = w.node(rng).db.Post(ctx, m)
		}
		if err == nil {
			w.replies.Add(1)
		}
	}
	if errors.Is(err, db.ErrWakeLost) {
		w.lost.Add(1)
	}
}

func (w *wakeWorld) poisoned(ctx context.Context, d *db.DB, agent string, wake *db.Wake) (bool, error) {
	found, err := d.MessagesAt(ctx, wake.Shown.Channel.ID, agent, wake.Messages)
	return slices.ContainsFunc(found, func(m db.StoredMessage) bool { return m.Content == poison }), err
}

// verify compares all waking messages with what answered them.
func (w *wakeWorld) verify(conn *pgx.Conn) {
	w.t.Helper()
	const uncovered = `
		SELECT count(*) FILTER (WHERE answers = 0 AND dead = 0), count(*) FILTER (WHERE answers > 1),
			count(*) FILTER (WHERE dead > 0 AND m.content <> 'poison'), count(*) FILTER (WHERE answers > 0
				AND m.content = 'poison'),
			count(*) FILTER (WHERE answers = 1 AND dead > 0), count(*)
		FROM wake_consumers k
		JOIN members i ON i.user_id = k.user_id
		JOIN messages m ON m.channel_id = i.channel_id AND m.author_user_id <> k.user_id
			AND m.seq > k.since_seq
		CROSS JOIN LATERAL (SELECT count(*) AS answers FROM messages r WHERE r.channel_id = m.channel_id
			AND r.author_user_id = k.user_id AND m.seq BETWEEN r.wake_first AND r.wake_upto) r
		CROSS JOIN LATERAL (SELECT count(*) AS dead FROM wakes_dead d WHERE d.channel_id = m.channel_id
			AND d.user_id = k.user_id AND m.seq BETWEEN d.first_seq AND d.last_seq) d
		WHERE m.author_user_id = 'ann'`
	var lost, doubled, died, answered, both, total int
	err := conn.QueryRow(w.t.Context(), uncovered).Scan(&lost, &doubled, &died, &answered, &both, &total)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Logf("%d messages owed", total)
	if lost+doubled+died+answered+both > 0 || total == 0 {
		w.t.Errorf("of %d messages owed: got %d answered by nobody, %d answered twice, %d dead that are "+
			"not poison, "+
			"%d of poison answered, %d both answered and dead; want none", total, lost, doubled, died,
			answered, both)
	}
}
