package operatetest_test

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/nodetest"
)

type health struct {
	Status string `json:"status"`
}

// awaitReadyz waits until exactly these checks fail, in their order; none: until the server is ready.
func awaitReadyz(t *testing.T, n *nodetest.Node, code string, failing ...string) (details []string) {
	t.Helper()
	nobody := n.As("", "")
	var a nodetest.Answer
	var err error
	if !ssetest.Await(func() bool {
		if a, err = nobody.Do("GET", "/readyz", nil); err != nil {
			return false
		}
		if len(failing) == 0 {
			return a.Status == http.StatusOK
		}
		var p nodetest.Problem
		if nodetest.Strictly(a.Body, &p) != nil || len(p.Errors) != len(failing) {
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
		nodetest.WantProblem(t, a, http.StatusServiceUnavailable, code)
	}
	return details
}

func TestHealth(t *testing.T) {
	t.Parallel()
	pg := dbtest.NewCluster(t)
	n := nodetest.Start(t, nodetest.Setup{Database: pg.URL()})
	nobody := n.As("", "")
	awaitReadyz(t, n, "")
	all := nodetest.Readiness{
		Status: "ready",
		Checks: []string{"accepting", "database", "changes", "log", "horizon"},
	}
	if diff := cmp.Diff(all, nodetest.Call[nodetest.Readiness](t, nobody, 200, "GET", "/readyz",
		nil)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := nodetest.Call[health](t, nobody, 200, "GET", "/healthz", nil); got.Status != "ok" {
		t.Errorf("got %+v, want ok", got)
	}
	alice := n.User("alice")
	id := alice.General(t, "ops").Channel.ID
	if err := pg.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	nobody.Refused(t, 503, "database_unavailable", "GET", "/readyz", nil)
	nodetest.Call[health](t, nobody, 200, "GET", "/healthz", nil)
	alice.Refused(t, 503, "unavailable", "POST", "/api/channels/"+id+"/messages",
		nodetest.Body{"content": "hi"})
	alice.Refused(t, 503, "unavailable", "POST", "/api/channels",
		nodetest.NewChannel{GuildID: "g1", Name: "x", XType: "general"})
	alice.Refused(t, 503, "unavailable", "GET", "/api/channels", nil)
	alice.Refused(t, 503, "unavailable", "GET", "/api/sync", nil)
	awaitReadyz(t, n, "database_unavailable", "database", "log") // streams are paused
	n.Server.Drain()
	awaitReadyz(t, n, "draining", "accepting", "database", "log")
	nodetest.Call[health](t, nobody, 200, "GET", "/healthz", nil)
}

// A database that answers every question and takes no change: nobody should be sent here.
func TestADatabaseThatIsReadOnlyIsNotReady(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice := n.User("alice")
	id := alice.General(t, "ops").Channel.ID
	conn := dbtest.Connect(t, n.Database)
	alter := func(value string) {
		for _, statement := range []string{
			`BEGIN READ WRITE`,
			`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = ` + value +
				`', current_database()); END $$`,
			`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
				AND pid <> pg_backend_pid()`,
			`COMMIT`,
		} {
			if _, err := conn.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	alter("on")
	details := awaitReadyz(t, n, "changes_refused", "changes")
	if !strings.Contains(details[0], "default_transaction_read_only is on") {
		t.Errorf("got %q, want what to do", details[0])
	}
	alice.Refused(t, 503, "unavailable", "POST", "/api/channels/"+id+"/messages",
		nodetest.Body{"content": "hi"})
	alter("off")
	awaitReadyz(t, n, "")
}

// A transaction past the server's own, which has no timeout: streams wait for it, and the server says so.
func TestAHeldHorizonIsNotReady(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice := n.User("alice")
	id := alice.General(t, "ops", "bob").Channel.ID
	bob, _ := n.User("bob").Fresh(t, nodetest.Raw, "")
	conn := dbtest.Connect(t, n.Database)
	for _, statement := range []string{
		`BEGIN`,
		`INSERT INTO events (kind, channel_id, user_id) VALUES ('channel.updated', '` + id +
			`', 'somebody')`,
	} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	waiting := alice.Post(t, id, "waits")
	awaitReadyz(t, n, "horizon_held", "horizon")
	readme, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```sql\n(SELECT [^;]*);").FindSubmatch(readme)
	if block == nil {
		t.Fatal("got no query in docs/operate.md, want the one that finds the transaction")
	}
	if got, want := n.Count(t, "SELECT pid FROM ("+string(block[1])+") AS holders"),
		int(conn.PgConn().PID()); got != want {
		t.Errorf("got process %d by the query of docs/operate.md, want %d", got, want)
	}
	if _, err := conn.Exec(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	awaitReadyz(t, n, "")
	if f := bob.Next(t); f.ID != waiting.Cursor {
		t.Errorf("got %s, want %s", f.Raw, waiting.Cursor)
	}
}
