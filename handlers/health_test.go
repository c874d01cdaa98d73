package handlers_test

import (
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers"

	"github.com/google/go-cmp/cmp"
)

type health struct {
	Status string `json:"status"`
}

type readiness struct {
	Status   string   `json:"status"`
	Checks   []string `json:"checks"`
	Warnings []string `json:"warnings"`
}

// awaitReadyz waits until exactly these checks fail, in their order; none: until the server is ready.
func (n *node) awaitReadyz(t *testing.T, code string, failing ...string) (details []string) {
	t.Helper()
	nobody := n.as("", "")
	var a answer
	var err error
	if !eventually(func() bool {
		if a, err = nobody.do("GET", "/readyz", nil); err != nil {
			return false
		}
		if len(failing) == 0 {
			return a.status == http.StatusOK
		}
		var p problem
		if strictly(a.body, &p) != nil || len(p.Errors) != len(failing) {
			return false
		}
		details = nil
		for i, e := range p.Errors {
			if e.Field != failing[i] {
				return false
			}
			details = append(details, e.Detail)
		}
		return true
	}) {
		t.Fatalf("got %v and error %v, want these checks to fail: %v", a, err, failing)
	}
	if len(failing) > 0 {
		wantProblem(t, a, http.StatusServiceUnavailable, code)
	}
	return details
}

func TestHealth(t *testing.T) {
	t.Parallel()
	pg := dbtest.NewCluster(t)
	n := start(t, setup{database: pg.URL()})
	nobody := n.as("", "")
	n.awaitReadyz(t, "")
	all := readiness{Status: "ready", Checks: []string{"accepting", "database", "changes", "log", "horizon"}}
	if diff := cmp.Diff(all, call[readiness](t, nobody, 200, "GET", "/readyz", nil)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := call[health](t, nobody, 200, "GET", "/healthz", nil); got.Status != "ok" {
		t.Errorf("got %+v, want ok", got)
	}
	alice := n.user("alice")
	id := alice.general(t, "ops").Channel.ID
	if err := pg.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	nobody.refused(t, 503, "database_unavailable", "GET", "/readyz", nil)
	call[health](t, nobody, 200, "GET", "/healthz", nil)
	alice.refused(t, 503, "unavailable", "POST", "/api/channels/"+id+"/messages", body{"content": "hi"})
	alice.refused(t, 503, "unavailable", "POST", "/api/channels", newChannel{GuildID: "g1", Name: "x", XType: "general"})
	alice.refused(t, 503, "unavailable", "GET", "/api/channels", nil)
	alice.refused(t, 503, "unavailable", "GET", "/api/sync", nil)
	n.awaitReadyz(t, "database_unavailable", "database", "log") // streams are paused
	n.server.Drain()
	n.awaitReadyz(t, "draining", "accepting", "database", "log")
	call[health](t, nobody, 200, "GET", "/healthz", nil)
}

// A database that answers every question and takes no change: nobody should be sent here.
func TestADatabaseThatIsReadOnlyIsNotReady(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice := n.user("alice")
	id := alice.general(t, "ops").Channel.ID
	conn := dbtest.Connect(t, n.database)
	alter := func(value string) {
		for _, statement := range []string{
			`BEGIN READ WRITE`,
			`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = ` + value + `', current_database()); END $$`,
			`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`,
			`COMMIT`,
		} {
			if _, err := conn.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	alter("on")
	details := n.awaitReadyz(t, "changes_refused", "changes")
	if !strings.Contains(details[0], "default_transaction_read_only is on") {
		t.Errorf("got %q, want what to do", details[0])
	}
	alice.refused(t, 503, "unavailable", "POST", "/api/channels/"+id+"/messages", body{"content": "hi"})
	alter("off")
	n.awaitReadyz(t, "")
}

// A key file that cannot be read any more, for whatever reason, harms nobody before the next start: the key
// is known. That is told in the log, once, by /readyz and by a metric, until the file can be read again.
func TestAKeyThatBecomesUnreadableStaysInUse(t *testing.T) {
	t.Parallel()
	log := &syncBuffer{}
	n := start(t, setup{logger: slog.New(slog.NewTextHandler(log, nil))})
	alice := n.user("alice")
	path := filepath.Join(n.state, "token.key")
	key, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(content []byte, mode os.FileMode) func() error {
		return func() error { return errors.Join(os.WriteFile(path, content, 0o600), os.Chmod(path, mode)) }
	}
	ready := func() (got readiness) {
		handlers.LookAtKeys(n.server)
		return call[readiness](t, n.as("", ""), 200, "GET", "/readyz", nil)
	}
	for _, fault := range []struct {
		name  string
		cause func() error
	}{
		{"others can read it", write(key, 0o644)},
		{"damaged", write([]byte("damaged"), 0o600)},
		{"not there", func() error { return os.Remove(path) }},
	} {
		if err := fault.cause(); err != nil {
			t.Fatal(err)
		}
		got := ready()
		if len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "token.key") {
			t.Errorf("%s: got %+v, want a warning", fault.name, got)
		}
		call[map[string]any](t, alice, 200, "GET", "/api/me", nil)
		if got := n.scrape(t).sum("fabric_guild_key_readable", `file="token.key"`); got != 0 {
			t.Errorf("%s: got %v, want a metric that says so", fault.name, got)
		}
	}
	if err := write(key, 0o600)(); err != nil {
		t.Fatal(err)
	}
	if got := ready(); len(got.Warnings) > 0 {
		t.Errorf("got %+v once it can be read again, want no warning", got)
	}
	call[map[string]any](t, alice, 200, "GET", "/api/me", nil)
	if got := n.scrape(t).sum("fabric_guild_key_readable", `file="token.key"`); got != 1 {
		t.Errorf("got %v once it can be read again, want 1", got)
	}
	for text, want := range map[string]int{"the key cannot be read": 1, "the key can be read again": 1} {
		if got := strings.Count(log.String(), text); got != want {
			t.Errorf("got %d lines with %q, want %d", got, text, want)
		}
	}
}

// A transaction past the server's own, which has no timeout: streams wait for it, and the server says so.
func TestAHeldHorizonIsNotReady(t *testing.T) {
	long(t)
	t.Parallel()
	n := start(t, setup{})
	alice := n.user("alice")
	id := alice.general(t, "ops", "bob").Channel.ID
	bob, _ := n.user("bob").fresh(t, raw, "")
	conn := dbtest.Connect(t, n.database)
	for _, statement := range []string{`BEGIN`, `INSERT INTO events (kind, channel_id, user_id) VALUES ('channel.updated', '` + id + `', 'somebody')`} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	waiting := alice.post(t, id, "waits")
	n.awaitReadyz(t, "horizon_held", "horizon")
	readme, err := os.ReadFile("docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```sql\n(SELECT [^;]*);").FindSubmatch(readme)
	if block == nil {
		t.Fatal("got no query in docs/operate.md, want the one that finds the transaction")
	}
	if got, want := n.count(t, "SELECT pid FROM ("+string(block[1])+") AS holders"), int(conn.PgConn().PID()); got != want {
		t.Errorf("got process %d by the query of docs/operate.md, want %d", got, want)
	}
	if _, err := conn.Exec(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	n.awaitReadyz(t, "")
	if f := bob.next(t); f.id != waiting.Cursor {
		t.Errorf("got %s, want %s", f.raw, waiting.Cursor)
	}
}
