package soaktest

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/db/pgrun"
	_ "fabric-guild/handlers" // a change of this package must not leave the result of this test cached
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/guildtest"
)

var (
	program   guildtest.Program
	duration  = flag.Duration("soak", 5*time.Second, "duration of the changes and faults of TestSoak")
	givenSeed = flag.Uint64("seed", 0, "seed of TestSoak; 0: a random seed")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("skipped by -short: a soak takes long")
		return
	}
	os.Exit(program.Main(m, config.EnvPrefix))
}

// The users. One of them is the admin of triage channels.
var users = []string{"alice", "bob", "carol", "dave", "erin", "frank"}

const (
	admin   = "frank"
	zed     = "zed"  // posts the last message
	kept    = 1500   // number of events that retention keeps
	most    = 60_000 // approximate limit of changes, because the test keeps all frames of all clients
	workers = 4
	// historiesRead is the number of channels whose history the test reads at the end.
	historiesRead = 100
)

// A soak is one run. All workers and clients share it.
type soak struct {
	t      *testing.T
	seed   uint64
	bases  []string
	tokens map[string]string
	http   *http.Client
	log    *pgxpool.Pool // direct connections to Postgres

	mu        sync.Mutex
	channels  []*channel
	snapshots []snapshot
	faults    []string
}

// fault records a difference.
func (s *soak) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

// floor returns the number up to which retention has removed events from the event log.
func (s *soak) floor() (floor int64) {
	for s.log.QueryRow(context.Background(), `SELECT seq FROM log_floor`).Scan(&floor) != nil {
		<-time.After(20 * time.Millisecond)
	}
	return floor
}

// Two servers run with six users, four kinds of clients for each user, changes of every kind, retention, and
// faults. Each client must get exactly what the oracle expects.
func TestSoak(t *testing.T) {
	t.Parallel()
	seed := *givenSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed: go test ./handlers/e2e/soaktest -run TestSoak -soak %v -seed %d", *duration, seed)
	pg := dbtest.NewCluster(t)
	state := guildtest.StateDir(t)
	start := func(i int, args ...string) *guildtest.Node {
		args = append(args, "-database-url", pg.URL(), "-admin-user", admin, "-retention-events",
			fmt.Sprint(kept),
			"-stream-max-age", "3s", "-log-level", "warn", "-drain-streams", "1s")
		if i == 1 {
			args = append(args, "-transport", "r3labs")
		}
		return program.Start(t, state, args...)
	}
	nodes := []*guildtest.Node{start(0), start(1)}
	s := &soak{
		t:      t,
		seed:   seed,
		bases:  []string{nodes[0].Base(), nodes[1].Base()},
		tokens: map[string]string{},
		http:   &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	everyone := append(slices.Clone(users), zed)
	for i, token := range nodes[0].Tokens(everyone...) {
		s.tokens[everyone[i]] = token
	}
	s.open(pg.URL())
	defer s.log.Close()

	ctx, end := context.WithCancel(t.Context())
	changing, stop := context.WithCancel(ctx)
	cutting, stopCutting := context.WithCancel(ctx)
	defer stopCutting()
	var clients, changes sync.WaitGroup
	defer clients.Wait()
	defer end()
	all := s.clients()
	for _, c := range all {
		clients.Go(func() { c.run(ctx, cutting) })
	}
	for i := range workers {
		w := &worker{soak: s, number: i, rand: rand.New(rand.NewPCG(seed, uint64(i)))}
		w.pause = max(5*time.Millisecond, *duration*workers/most)
		changes.Go(func() { w.run(changing) })
	}
	s.harm(pg, all, nodes, start)
	stop()
	changes.Wait()
	stopCutting()

	w := &worker{soak: s, number: workers, rand: rand.New(rand.NewPCG(seed, workers))}
	last := w.lastWord()
	for _, c := range all {
		guildtest.Eventually(t, c.name+" gets the last message", 2*guildtest.Patience, func() bool {
			return seq(c.at()) >= last
		})
	}
	end()
	clients.Wait()
	s.judge(all, w, last)
}

// clients returns one client of each kind for each user.
func (s *soak) clients() (all []*client) {
	for i, user := range users {
		for j, kind := range []string{"sse", "lines", "poll", "follow"} {
			r := rand.New(rand.NewPCG(s.seed, uint64(100+10*i+j)))
			c := &client{soak: s, name: user + "'s " + kind, user: user, kind: kind, rand: r}
			c.echo, c.wakeup, c.snapshot = r.IntN(2) == 0, r.IntN(6) == 0, r.IntN(3) == 0
			all = append(all, c)
		}
	}
	return all
}

// open makes Postgres keep a copy of the event log that retention does not shorten.
func (s *soak) open(url string) {
	s.t.Helper()
	const keep = `
		CREATE TABLE soak_log (seq bigint, kind text, channel_id uuid, user_id text, message_id uuid);
		CREATE FUNCTION soak_keep() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			INSERT INTO soak_log VALUES (NEW.seq, NEW.kind, NEW.channel_id, NEW.user_id, NEW.message_id);
			RETURN NULL;
		END
		$$;
		CREATE TRIGGER soak_keep AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION soak_keep()`
	var err error
	if s.log, err = pgxpool.New(s.t.Context(), url); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.log.Exec(s.t.Context(), keep); err != nil {
		s.t.Fatal(err)
	}
}

// A starter starts the server with an index.
type starter func(i int, args ...string) *guildtest.Node

// harm causes faults in random order until the time is over. It causes every fault at least once.
func (s *soak) harm(pg *pgrun.Postgres, all []*client, nodes []*guildtest.Node, start starter) {
	s.t.Helper()
	r := rand.New(rand.NewPCG(s.seed, 99))
	again := func(i int) { nodes[i] = start(i, "-addr", nodes[i].Addr()) }
	harms := []func(){
		func() {
			i := r.IntN(2)
			nodes[i].Kill()
			again(i)
		},
		func() {
			i := r.IntN(2)
			nodes[i].Stop()
			again(i)
		},
		func() { s.endPostgres(pg, syscall.SIGKILL) },
		func() { s.endPostgres(pg, syscall.SIGINT) },
		s.endBackends,
		func() {
			s.shorten(pg.URL(), all[r.IntN(len(all))], func() {
				for i, n := range nodes {
					n.Kill()
					again(i)
				}
			})
		},
		func() { s.fallBehind(all[r.IntN(len(all))], int64(min(100*duration.Seconds()/5, kept/2))) },
	}
	began := time.Now()
	for done := 0; done < len(harms) || time.Since(began) < *duration; done++ {
		if done%len(harms) == 0 {
			r.Shuffle(len(harms), func(i, j int) { harms[i], harms[j] = harms[j], harms[i] })
		}
		// Between two faults there is normal load.
		<-time.After(min(max(*duration/16, 200*time.Millisecond), 2*time.Second))
		harms[done%len(harms)]()
		for _, n := range nodes {
			n.AwaitReady()
		}
	}
}

// endPostgres ends Postgres with a signal, and blocks until Postgres is back, because a server does not start
// without it.
func (s *soak) endPostgres(pg *pgrun.Postgres, by syscall.Signal) {
	s.t.Helper()
	before := pg.Pid()
	if err := syscall.Kill(before, by); err != nil {
		s.t.Fatal(err)
	}
	guildtest.Eventually(s.t, "Postgres is back", guildtest.Patience, func() bool {
		return pg.Pid() != before && pg.Pid() != 0 && s.log.Ping(s.t.Context()) == nil
	})
}

// endBackends ends about half of the server's connections.
func (s *soak) endBackends() {
	const cut = `
		SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE pid <> pg_backend_pid() AND usename = current_user AND random() < 0.5`
	_, _ = s.log.Exec(s.t.Context(), cut)
}

// shorten keeps a client away until retention has removed the events that the client misses. Then it restarts
// the servers, because they could still send events from memory. So the client gets a reset when it
// reconnects.
func (s *soak) shorten(url string, c *client, restart func()) {
	s.t.Helper()
	c.stayAway()
	defer c.away.Store(false)
	guildtest.Eventually(s.t, c.name+" has missed removed events", guildtest.Patience, func() bool {
		d, err := db.Open(s.t.Context(), url)
		if err != nil {
			return false
		}
		defer d.Close()
		_, _, err = d.Retain(s.t.Context(), db.Retention{Events: 100}) // each server does this once a minute
		return err == nil && c.at() != "" && s.floor() > seq(c.at())
	})
	restart()
}

// fallBehind keeps a client away for this number of events. The client must get all of them when it
// reconnects.
func (s *soak) fallBehind(c *client, events int64) {
	s.t.Helper()
	c.stayAway()
	defer c.away.Store(false)
	guildtest.Eventually(s.t, c.name+" is behind", 5*guildtest.Patience, func() bool {
		var head int64
		err := s.log.QueryRow(s.t.Context(), `SELECT coalesce(max(seq), 0) FROM events`).Scan(&head)
		return err == nil && c.at() != "" && head > seq(c.at())+events
	})
}

// lastWord posts a message that wakes everyone, and returns its number.
func (w *worker) lastWord() int64 {
	var made, posted answer
	body := map[string]any{"guildId": "end", "name": "end", "xType": "general", "memberUserIds": users}
	w.ask(zed, http.MethodPost, "/api/channels", w.name("key"), body, &made, http.StatusCreated)
	c := &channel{id: made.Channel.ID, guild: "end", xType: "general", creator: zed, closed: true}
	c.roster = append([]string{zed}, users...)
	c.add(&entry{kind: "channel.created", seq: seq(made.Cursor), user: zed, members: c.roster, name: "end"})
	body = map[string]any{"content": "that is all"}
	path := "/api/channels/" + c.id + "/messages"
	w.ask(zed, http.MethodPost, path, w.name("key"), body, &posted, http.StatusCreated)
	m := &message{id: posted.Message.ID, author: zed, versions: []version{{content: "that is all"}}}
	c.add(&entry{kind: "message.created", seq: seq(posted.Cursor), user: zed, message: m})
	w.channels = append(w.channels, c)
	return seq(posted.Cursor)
}

// judge compares everything with the oracle.
func (s *soak) judge(all []*client, w *worker, last int64) {
	s.t.Helper()
	const rows = `
		SELECT seq, kind, channel_id::text, user_id, coalesce(message_id::text, '') FROM soak_log
			ORDER BY seq`
	found, err := s.log.Query(s.t.Context(), rows)
	if err != nil {
		s.t.Fatal(err)
	}
	log, err := pgx.CollectRows(found, pgx.RowToStructByPos[logged])
	if err != nil {
		s.t.Fatal(err)
	}
	s.resolve(log)
	frames, resets, opens := 0, 0, 0
	if len(s.faults) == 0 {
		for _, c := range all {
			resets += s.verify(c, last)
			frames += len(c.frames)
			opens += c.opens
		}
		for i := 0; i < len(s.channels); i += 1 + len(s.channels)/historiesRead {
			w.verifyHistory(s.channels[i])
		}
		for _, snap := range s.snapshots {
			if diff := s.compareSnapshot(snap.user, snap.at, snap.channels); diff != "" {
				s.fault("/api/sync for %s at %d (-want +got):\n%s", snap.user, snap.at, diff)
			}
		}
	}
	s.t.Logf("%d events in %d channels, %d snapshots; "+
		"%d clients with %d connections saw %d frames and %d resets",
		len(log), len(s.channels), len(s.snapshots), len(all), opens, frames, resets)
	if frames == 0 || resets == 0 && len(s.faults) == 0 {
		s.t.Errorf("got %d frames and %d resets, want some of both: without them this test shows little",
			frames, resets)
	}
	for i, f := range s.faults {
		if i == 5 {
			s.t.Errorf("there are %d more differences", len(s.faults)-i)
			break
		}
		s.t.Errorf("seed %d: %s", s.seed, f)
	}
}
