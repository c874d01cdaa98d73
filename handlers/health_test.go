package handlers_test

import (
	"net/http"
	"os"
	"regexp"
	"testing"

	"fabric-guild/db/dbtest"

	"github.com/google/go-cmp/cmp"
)

type health struct {
	Status string `json:"status"`
}

type readiness struct {
	Status string   `json:"status"`
	Checks []string `json:"checks"`
}

// awaitReadyz waits until exactly these checks fail, in their order; none: until the server is ready.
func (n *node) awaitReadyz(t *testing.T, code string, failing ...string) (details []string) {
	t.Helper()
	nobody := &user{n, "", ""}
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
	nobody := &user{n, "", ""}
	n.awaitReadyz(t, "")
	all := readiness{"ready", []string{"accepting", "database", "log", "horizon"}}
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
	n.awaitReadyz(t, "database_unavailable", "database", "log") // streams stand still
	n.server.Drain()
	n.awaitReadyz(t, "draining", "accepting", "database", "log")
	call[health](t, nobody, 200, "GET", "/healthz", nil)
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
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```sql\n(SELECT [^;]*);").FindSubmatch(readme)
	if block == nil {
		t.Fatal("got no query in the README, want the one that finds the transaction")
	}
	if got, want := n.count(t, "SELECT pid FROM ("+string(block[1])+") AS holders"), int(conn.PgConn().PID()); got != want {
		t.Errorf("got process %d by the README's query, want %d", got, want)
	}
	if _, err := conn.Exec(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	n.awaitReadyz(t, "")
	if f := bob.next(t); f.id != waiting.Cursor {
		t.Errorf("got %s, want %s", f.raw, waiting.Cursor)
	}
}
