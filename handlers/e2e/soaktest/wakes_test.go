package soaktest

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"fabric-guild/db/dbtest"
	"fabric-guild/db/pgrun"
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/guildtest"
)

var wakesFor = flag.Duration("wakes", 4*time.Second, "duration of the messages and faults of TestWakes")

const (
	ann    = "ann"    // a human who posts
	bot    = "bot"    // an agent who posts
	poison = "poison" // a message that begins with this makes each worker fail
)

// A wakeSoak is one run of TestWakes.
type wakeSoak struct {
	*soak
	agents []string
	rooms  []room

	crashes, lost atomic.Int64

	// These have the lock of soak.
	replies map[string]reply // by text
	acked   map[owed]outcome // done, or unknown
	now     int64            // counts what workers do with claims, in order
	claims  map[owed]int64   // when the newest claim that got this message was sent, by now

	runs   []*guildtest.Running // processes of the command agent, two for each of the first agents
	starts []func() *guildtest.Running
}

// A room is a channel in which each message of its author wakes all agents of the room.
type room struct {
	id, author string
	agents     []string
}

// A reply is what a worker knows about a message that it has sent.
type reply struct {
	author   string
	outcome  outcome
	kept     bool          // it must not end the wake
	messages []wakeMessage // what the wake handed out
	late     bool          // another worker had the wake before this was sent
}

// An owed message is a message that an agent must answer.
type owed struct{ agent, message string }

// An outcome says whether a request took effect.
type outcome int

const (
	unknown outcome = iota // it got no answer
	done
	refused // 409 wake_lost
)

// Agents with two workers each answer what wakes them, on three servers. Some of the agents are processes of
// the command agent. Workers, processes, servers and Postgres are killed, leases end, and answers get lost.
// At the end each waking message is covered by exactly one finished wake, each reply stands once, and the
// only dead wakes are those of messages that no worker can answer.
func TestWakes(t *testing.T) {
	t.Parallel()
	agents, commands, pause := 6, 1, 40*time.Millisecond
	if *wakesFor > time.Minute {
		agents, commands, pause = 50, 4, 400*time.Millisecond
	}
	pg := dbtest.NewCluster(t)
	state := guildtest.StateDir(t)
	start := func(_ int, args ...string) *guildtest.Node {
		args = append(args, "-database-url", pg.URL(), "-log-level", "warn", "-drain-streams", "1s")
		return program.Start(t, state, args...)
	}
	nodes := []*guildtest.Node{start(0), start(1), start(2)}
	s := &wakeSoak{
		soak: &soak{
			t:      t,
			tokens: map[string]string{},
			http:   &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		},
		replies: map[string]reply{},
		acked:   map[owed]outcome{},
		claims:  map[owed]int64{},
	}
	for _, n := range nodes {
		s.bases = append(s.bases, n.Base())
	}
	for i := range agents {
		s.agents = append(s.agents, fmt.Sprint("agent", i))
	}
	everyone := append([]string{ann, bot}, s.agents...)
	for i, token := range nodes[0].Tokens(everyone...) {
		s.tokens[everyone[i]] = token
	}
	var err error
	if s.log, err = pgxpool.New(t.Context(), pg.URL()); err != nil {
		t.Fatal(err)
	}
	defer s.log.Close()
	s.prepare()

	posting, stopPosting := context.WithCancel(t.Context())
	faults, calm := context.WithCancel(t.Context())
	working, end := context.WithCancel(t.Context())
	var writers, workers sync.WaitGroup
	defer workers.Wait()
	defer end()
	for i, agent := range s.agents {
		if i < commands {
			s.command(agent)
			continue
		}
		for k := range 2 {
			workers.Go(func() { s.newClaimer(agent, k).run(working, faults) })
		}
	}
	for i := range 2 {
		writers.Go(func() { s.write(posting, i, pause) })
	}
	s.harmWork(pg, nodes, start)
	stopPosting()
	writers.Wait()
	calm()
	guildtest.Eventually(t, "the queues are empty", 4*guildtest.Patience, func() bool {
		s.hurry()
		return s.left() == 0
	})
	end()
	workers.Wait()
	for _, r := range s.runs {
		r.Stop()
	}
	s.judgeWork()
}

// prepare makes the rooms, and opens the queues of the agents.
func (s *wakeSoak) prepare() {
	w := &worker{soak: s.soak, rand: rand.New(rand.NewPCG(1, 1))}
	kind := map[string]any{"kind": "agent"}
	w.ask(bot, http.MethodPatch, "/api/me", "bot", kind, &struct{}{}, http.StatusOK)
	add := func(author string, agents ...string) {
		var made answer
		w.ask(author, http.MethodPost, "/api/channels", fmt.Sprint("room", len(s.rooms)), map[string]any{
			"guildId": "g1", "name": "room", "xType": "general", "memberUserIds": agents, "loopLimit": 0,
		}, &made, http.StatusCreated)
		s.rooms = append(s.rooms, room{made.Channel.ID, author, agents})
	}
	for _, agent := range s.agents {
		add(ann, agent)
		add(bot, agent)
	}
	for range 2 {
		add(ann, s.agents...)
	}
	for _, agent := range s.agents {
		claim := map[string]any{}
		if !w.ask(agent, http.MethodPost, "/api/wakes/claim", "", claim, &struct{}{}, http.StatusOK) {
			s.t.Fatal("an agent cannot open its queue")
		}
	}
}

// command starts two processes of the command agent.
func (s *wakeSoak) command(agent string) {
	const answer = `
		sleep 0.1
		case $FABRIC_CONTENT in poison*) exit 1;; esac
		printf '<@ann> %s' "$FABRIC_CONTENT"`
	for range 2 {
		dir := s.t.TempDir() // a worker of its own name
		start := func() *guildtest.Running {
			r := program.Client(s.t, []string{
				config.EnvPrefix + "TOKEN=" + s.tokens[agent],
				config.EnvPrefix + "URL=" + s.bases[rand.IntN(len(s.bases))],
			}, program.Path, "agent", "-parallel", "2", "-limit", "1", "-exec", answer)
			r.Cmd.Dir = dir
			r.Start(s.tokens[agent])
			return r
		}
		s.runs = append(s.runs, start())
		s.starts = append(s.starts, start)
	}
}

// write posts until ctx ends. Every tenth message of the bot is poison. Ann's are not: a human's message
// takes an attempt back, so a wake that humans write to lives on.
func (s *wakeSoak) write(ctx context.Context, writer int, pause time.Duration) {
	w := &worker{soak: s.soak, number: writer, rand: rand.New(rand.NewPCG(rand.Uint64(), 1))}
	bots := 0
	for n := 0; ctx.Err() == nil; n++ {
		to := s.rooms[w.rand.IntN(len(s.rooms))]
		text := fmt.Sprintf("work %d.%d", writer, n)
		if to.author == bot {
			if bots%10 == 0 {
				text = poison + " " + text
			}
			bots++
		}
		var a answer
		w.ask(to.author, http.MethodPost, "/api/channels/"+to.id+"/messages", w.name("key"),
			map[string]any{"content": text}, &a, http.StatusCreated)
		wait(ctx, rand.N(pause))
	}
}

// wait waits, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timed, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-timed.Done()
}

// harmWork causes faults in random order until the time is over, and each fault at least once.
func (s *wakeSoak) harmWork(pg *pgrun.Postgres, nodes []*guildtest.Node, start starter) {
	s.t.Helper()
	again := func(i int) { nodes[i] = start(i, "-addr", nodes[i].Addr()) }
	harms := []func(){
		func() {
			i := rand.IntN(len(nodes))
			nodes[i].Kill()
			again(i)
		},
		func() {
			i := rand.IntN(len(nodes))
			nodes[i].Stop()
			again(i)
		},
		func() { s.endPostgres(pg, syscall.SIGKILL) },
		s.endBackends,
		s.killCommand,
		s.killCommand,
	}
	began := time.Now()
	n := 0
	for ; n < len(harms) || time.Since(began) < *wakesFor; n++ {
		if n%len(harms) == 0 {
			rand.Shuffle(len(harms), func(i, j int) { harms[i], harms[j] = harms[j], harms[i] })
		}
		wait(s.t.Context(), min(*wakesFor/12, 2*time.Second))
		harms[n%len(harms)]()
		for _, n := range nodes {
			n.AwaitReady()
		}
		s.hurry()
	}
	s.t.Logf("%d faults, a sixth of them kills of Postgres and a sixth kills of servers", n)
}

// killCommand kills a process of the command agent, and starts it again. It spares a process whose work has
// failed twice, because a wake that fails five times dies.
func (s *wakeSoak) killCommand() {
	s.t.Helper()
	i := rand.IntN(len(s.runs))
	var attempts int
	err := s.log.QueryRow(s.t.Context(), `SELECT coalesce(max(attempts), 0) FROM wakes
		WHERE user_id = $1 AND lease_until > clock_timestamp()`, s.agents[i/2]).Scan(&attempts)
	if err == nil && attempts <= 2 {
		s.crashes.Add(1)
		s.runs[i].Kill()
		s.runs[i] = s.starts[i]()
	}
}

// hurry ends all pauses: time passes faster. It does nothing while Postgres is away.
func (s *wakeSoak) hurry() {
	const end = `UPDATE wakes SET not_before = clock_timestamp() WHERE not_before > clock_timestamp()`
	_, _ = s.log.Exec(s.t.Context(), end)
}

// left returns how many wakes and messages wait for a worker. It returns 1 while Postgres is away.
func (s *wakeSoak) left() (n int) {
	const count = `
		SELECT (SELECT count(*) FROM wakes) + (SELECT count(*)
			FROM wake_consumers k JOIN members i USING (user_id)
			JOIN messages m ON m.channel_id = i.channel_id AND m.seq > k.scanned_seq
			WHERE m.author_user_id = ANY ($1))`
	if s.log.QueryRow(s.t.Context(), count, []string{ann, bot}).Scan(&n) != nil {
		return 1
	}
	return n
}

// record stores what a worker knows about a message that it has sent.
func (s *wakeSoak) record(text string, r reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replies[text] = r
}

// recordAck stores the outcome of an ack of messages.
func (s *wakeSoak) recordAck(agent string, messages []wakeMessage, o outcome) {
	if o == refused {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range messages {
		key := owed{agent, m.ID}
		if s.acked[key] == done && o == done {
			s.faults = append(s.faults, fmt.Sprintf("%s has ended the work of %s twice", agent, m.Content))
		}
		s.acked[key] = max(o, s.acked[key])
	}
}

// isPoison reports whether a worker must fail.
func isPoison(messages []wakeMessage) bool {
	return slices.ContainsFunc(messages, func(m wakeMessage) bool { return poisoned(m.Content) })
}
