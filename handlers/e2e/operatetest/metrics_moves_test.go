package operatetest_test

import (
	"context"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/center/centertest"
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/nodetest"
)

// A mover watches which metrics are moved.
type mover struct {
	*nodetest.Node
	t     *testing.T
	url   string          // of the database, without a setting of the pool
	base  nodetest.Scrape // what was before
	moved map[string]bool
}

// want waits until a metric, in its series with these labels, is above something.
func (m *mover) want(name string, above float64, labels ...string) {
	m.t.Helper()
	m.moved[regexp.MustCompile(`_(count|sum|bucket)$`).ReplaceAllString(name, "")] = true
	var got float64
	if !ssetest.Await(func() bool { got = m.Scrape(m.t).Sum(name, labels...); return got > above }) {
		m.t.Errorf("got %s %v = %v, want more than %v", name, labels, got, above)
	}
}

// more wants it to be above what it was.
func (m *mover) more(name string, labels ...string) {
	m.t.Helper()
	m.want(name, m.base.Sum(name, labels...), labels...)
}

// Each of the server's own metrics changes when the thing that it measures happens.
func TestEveryMetricMoves(t *testing.T) {
	dbtest.Long(t) // it waits for what the server measures once a minute
	t.Parallel()
	fake := centertest.New(t)
	url := dbtest.New(t)
	n := nodetest.Start(t, nodetest.Setup{
		Center: fake, Database: url + "&pool_max_conns=1", SendBuffer: 8 << 10,
		Edge: config.Edge{
			MaxStreams:     100,
			TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		},
	})
	m := &mover{Node: n, t: t, url: url, moved: map[string]bool{}}
	alice := n.User("alice")
	channel := alice.General(t, "ops", "bob", "carol", "dave", "eve").Channel.ID
	m.more("fabric_guild_log_events_read_total")
	m.more("fabric_guild_log_position")
	m.more("fabric_guild_log_read_age_seconds")
	m.more("fabric_guild_search_indexed_events_total")
	m.more("fabric_guild_search_index_position")
	m.more("fabric_guild_delivery_latency_seconds_count")
	m.more("fabric_guild_delivery_latency_seconds_sum")
	m.more("fabric_guild_http_request_duration_seconds_count", `method="POST"`, `route="/api/channels"`,
		`status="2xx"`)
	m.more("fabric_guild_http_request_duration_seconds_sum", `method="POST"`)
	m.base = n.Scrape(t)

	seen := m.streams(alice, channel)
	m.slowReaders(alice, channel, seen)
	m.authorities(fake, alice)
	m.wakes(alice, channel)
	m.database(alice, channel)
	for _, name := range n.Scrape(t).Families() {
		// TestIdleConnectionsMakeRoom and TestConnectionsOfAnAddress move the metrics of connections, and the
		// tests of signals in events/live move what streams did not get.
		elsewhere := strings.HasPrefix(name, "fabric_guild_connections") ||
			name == "fabric_guild_stream_signals_dropped_total"
		if !m.moved[name] && !elsewhere {
			t.Errorf("nothing moved %s here", name)
		}
	}
}

// streams are live, resumed here and at a server that was away, reset, closed. It returns a cursor.
func (m *mover) streams(alice *nodetest.User, channel string) (seen string) {
	t, bob := m.t, m.User("bob")
	s, _ := bob.Fresh(t, nodetest.Raw, "")
	h2c, _ := m.User("carol").Fresh(t, nodetest.Transport{H2c: true}, "")
	m.want("fabric_guild_streams_max", 99)
	for _, transport := range []string{`transport="raw"`, `transport="r3labs"`} {
		m.more("fabric_guild_streams", transport)
		m.more("fabric_guild_streams_opened_total", transport)
	}
	seen = alice.Post(t, channel, "hi <@bob>").Cursor
	s.Until(t, seen)
	h2c.Until(t, seen)
	triage := alice.Create(t, nodetest.NewChannel{
		GuildID: "g1", Name: "triage", XType: "triage",
		Members: []string{"bob"},
	}).Channel.ID
	alice.Post(t, triage, "for nobody")
	for _, outcome := range []string{"wake", "observer", "skip"} {
		m.more("fabric_guild_deliveries_total", `outcome="`+outcome+`"`, `source="live"`)
	}
	m.more("fabric_guild_stream_writes_total")
	m.more("fabric_guild_stream_written_frames_total")
	m.more("fabric_guild_stream_written_bytes_total")
	s.Close()
	m.more("fabric_guild_streams_closed_total", `reason="disconnected"`)
	m.User("dave").Fresh(t, nodetest.Raw, "?activity=true")
	alice.Does(t, channel, nodetest.Body{"kind": "typing"})
	m.more("fabric_guild_stream_signals_total")
	bob.Resume(t, nodetest.Raw, "", seen)
	m.more("fabric_guild_stream_catchups_total", `source="ring"`)
	// the channel that bob is in now
	m.more("fabric_guild_deliveries_total", `outcome="observer"`, `source="ring"`)
	bob.Open(t, nodetest.Raw, "", "Last-Event-ID", "5.1")
	m.more("fabric_guild_stream_resets_total", `reason="unknown_epoch"`)

	m.Settle(t)
	away := nodetest.Start(t, nodetest.Setup{Database: m.url, State: m.State, Center: m.Center})
	bob.At(away).Resume(t, nodetest.Raw, "", seen)
	if !ssetest.Await(func() bool {
		there := away.Scrape(t)
		return there.Sum("fabric_guild_stream_catchups_total", `source="log"`) == 1 &&
			there.Sum("fabric_guild_deliveries_total", `source="log"`) > 0
	}) {
		t.Error("got no catch-up from the log, want one")
	}
	away.Stop()
	return seen
}

// slowReaders take nothing: the queue of one overflows; another, which comes back, stays behind.
func (m *mover) slowReaders(alice *nodetest.User, channel, seen string) {
	t := m.t
	stall := func(id string, headers ...string) *nodetest.Stream {
		l := nodetest.NewLine(nodetest.Raw, 8<<10)
		t.Cleanup(l.HangUp)
		s, err := m.User(id).Dial(l, "", headers...)
		if err == nil {
			err = s.Begin()
		}
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	nodetest.Data[nodetest.ReadyData](t, stall("eve").Next(t), "stream.ready")
	var posting sync.WaitGroup
	for range 4 {
		posting.Go(func() {
			// all of them are more than a queue holds, and than a stream gets at once when it is back
			for range 100 {
				if _, err := nodetest.Ask[nodetest.Posted](alice, 201, "POST", "/api/channels/"+channel+
					"/messages", nodetest.Body{"content": strings.Repeat("x", 8000)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	posting.Wait()
	m.more("fabric_guild_stream_queue_overflows_total")
	stall("dave", "Last-Event-ID", seen)
	m.more("fabric_guild_streams_catching_up")
}

// authorities are Center, and the admin whom it knows.
func (m *mover) authorities(fake *centertest.Server, alice *nodetest.User) {
	t := m.t
	m.want("fabric_guild_center_calls_total", 0, `endpoint="introspect"`, `outcome="answered"`)
	m.want("fabric_guild_center_call_duration_seconds_count", 0, `endpoint="introspect"`)
	fake.SetAdmin("ada@example.org", "ada")
	m.Operate(m.t, 200)
	m.want("fabric_guild_admin_known", 0)
	m.more("fabric_guild_admin_fetched_timestamp_seconds")
	fake.Break(centertest.Status(500), centertest.AdminEmail)
	m.Operate(m.t, 200)
	m.more("fabric_guild_admin_fetch_failures_total")
	m.more("fabric_guild_center_calls_total", `endpoint="admin_email"`, `outcome="status"`)
	alice.Post(m.t, alice.General(m.t, "names").Channel.ID, "<@user.name:bob>")
	m.more("fabric_guild_center_calls_total", `endpoint="resolve_names"`, `outcome="answered"`)

	// An address that brings more unknown tokens than it may.
	refused := func() bool {
		a, err := m.As("nobody", uuid.NewString()).Do("GET", "/api/me", nil, "X-Forwarded-For", "192.0.2.1")
		return err == nil && a.Status == 429
	}
	if !ssetest.Await(refused) {
		t.Error("got no refusal of unknown tokens")
	}
	m.more("fabric_guild_center_refused_total", `reason="address"`)
	m.more("fabric_guild_refused_total", `code="too_many_sign_ins"`)
}

// wakes are claimed, lost, answered and waited for.
func (m *mover) wakes(alice *nodetest.User, channel string) {
	t, bob := m.t, m.User("bob")
	bob.Claim(t, nodetest.Body{})
	alice.Says(t, channel, "some work")
	lost := bob.Wake(t, nodetest.Body{})
	m.more("fabric_guild_wake_claims_total")
	m.more("fabric_guild_wakes", `state="claimed"`)
	m.Exec(t, `UPDATE wakes SET lease_until = clock_timestamp() - interval '1 second'`)
	held := bob.Wake(t, nodetest.Body{})
	m.more("fabric_guild_wake_leases_expired_total")
	bob.Refused(t, 409, "wake_lost", "POST", "/api/wakes/"+lost.ID+"/ack", nodetest.Body{})
	m.more("fabric_guild_wake_fenced_total")
	bob.Reply(t, held, "done", nil)
	m.more("fabric_guild_wake_replies_total")
	limited := alice.Makes(t, "general", []string{"bob"}, nil).Channel.ID
	nodetest.Call[nodetest.Created](t, alice, 200, "PATCH", "/api/channels/"+limited,
		nodetest.Body{"loopLimit": 1})
	bob.Says(t, limited, "one")
	bob.Says(t, limited, "two")
	m.more("fabric_guild_guard_trips_total")
	alice.Says(t, channel, "more work")
	if a, err := bob.Do("GET", "/api/wakes", nil); err != nil || a.Status != 200 { // scans
		t.Fatalf("got %v and error %v, want the queue", a, err)
	}
	m.more("fabric_guild_wake_oldest_pending_seconds")
	var seen atomic.Bool
	var waiting sync.WaitGroup
	waiting.Go(func() {
		for !seen.Load() {
			_, _ = m.User("carol").Do("POST", "/api/wakes/claim", nodetest.Body{"waitSeconds": 5})
		}
	})
	m.want("fabric_guild_wake_claims_waiting", 0)
	seen.Store(true)
	waiting.Wait()
}

// database is what the node does with Postgres, besides the log.
func (m *mover) database(alice *nodetest.User, channel string) {
	t := m.t
	m.want("fabric_guild_db_pool_connections", 0, `pool="tailer"`)
	m.want("fabric_guild_db_pool_connections_max", 0, `pool="requests"`)
	m.want("fabric_guild_db_pool_waits_total", 0, `pool="requests"`)
	m.want("fabric_guild_db_pool_wait_seconds_total", 0, `pool="tailer"`)

	// A transaction holds the horizon, and the only connection: a request gives up waiting for it. Postgres
	// ends a transaction that is idle for 5 s. On a busy machine that can be too early. Then the next one
	// tries.
	const lag, held = "fabric_guild_log_horizon_lag_events", "fabric_guild_log_horizon_held_seconds"
	m.moved[lag], m.moved[held] = true, true
	if !ssetest.Await(func() (seen bool) {
		m.HeldBack(t, func() {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if _, err := m.DB.Head(ctx); err == nil {
				t.Error("got a connection of a pool that has none left")
			}
			m.Exec(t, `SELECT nextval('events_seq')`) // a number that was given out behind it
			for end := time.Now().Add(4 * time.Second); !seen && time.Now().Before(end); {
				now := m.Scrape(t)
				seen = now.Sum(lag) > m.base.Sum(lag) && now.Sum(held) > 0
			}
		})
		return seen
	}) {
		t.Errorf("got %s and %s unmoved while a transaction holds the horizon", lag, held)
	}
	m.more("fabric_guild_db_pool_gave_up_total", `pool="requests"`)

	m.want("fabric_guild_key_readable", 0, `file="operator.key"`)
	m.want("fabric_guild_doorbell_listening", 0)
	m.Exec(t,
		`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
			AND query ~ '^(LISTEN|NOTIFY) '`)
	if !ssetest.Await(func() bool { return m.Scrape(t).Sum("fabric_guild_doorbell_listening") == 0 }) {
		t.Error("got a doorbell that is heard without a connection")
	}

	alice.Twice(t, "/api/channels/"+channel+"/messages", "key", nodetest.Body{"content": "once"})
	m.Exec(t, `UPDATE idempotency_keys SET created_at = now() - interval '25 hours'`)
	m.while(func(ctx context.Context) { m.DB.RunSweeper(ctx, m.Logger) },
		"fabric_guild_idempotency_keys_swept_total")
	retain := func(ctx context.Context) { m.DB.RunRetention(ctx, db.Retention{Events: 10}, m.Logger) }
	m.while(retain, "fabric_guild_retention_events_removed_total")
	m.Exec(t, `ALTER TABLE log_floor RENAME TO not_there`)
	m.while(retain, "fabric_guild_retention_failures_total")
	m.Exec(t, `ALTER TABLE not_there RENAME TO log_floor`)
}

// while wants a metric to move while something runs.
func (m *mover) while(run func(context.Context), name string) {
	m.t.Helper()
	ctx, stop := context.WithCancel(m.t.Context())
	var running sync.WaitGroup
	running.Go(func() { run(ctx) })
	m.more(name)
	stop()
	running.Wait()
}
