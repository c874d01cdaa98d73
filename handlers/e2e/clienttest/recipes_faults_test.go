package clienttest

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fabric-guild/handlers/e2e/guildtest"
)

// programs are the agents of the pages that an author copies and changes.
var programs = []string{"agent.mjs", "agent.py", "claim.sh", "plugin.mjs"}

// change replaces a text of a recipe in a kitchen.
func change(t *testing.T, dir, name, old, now string) {
	t.Helper()
	file := filepath.Join(dir, name)
	text := read(t, file)
	if strings.Count(text, old) != 1 {
		t.Fatalf("%s has %q %d times, want once", name, old, strings.Count(text, old))
	}
	if err := os.WriteFile(file, []byte(strings.Replace(text, old, now, 1)), 0o700); err != nil {
		t.Fatal(err)
	}
}

// An agent of the pages whose claim is refused says why and ends. It does not ask again and again.
func TestAgentsOfThePagesSayWhyTheyEnd(t *testing.T) {
	t.Parallel()
	commands := agents(t)
	w := guildtest.NewWorkplace(t, program)
	dir := kitchen(t)
	expired := w.Tokens("-ttl", "1s", "bob")[0]
	guildtest.Eventually(t, "the token has ended", guildtest.Patience, func() bool {
		status, err := guildtest.Call(t.Context(), http.MethodGet, w.Base()+"/api/me", expired, nil, nil)
		return err == nil && status == http.StatusUnauthorized
	})
	for _, name := range programs {
		for _, c := range []struct {
			url, token, says string
			code             int
		}{
			{w.Base(), expired, "token_expired", 3},
			{w.Base() + "/api", w.Bob, "not_found", 1},
			{w.Base() + "/", w.Bob, "not_found", 1},
		} {
			as := *w
			as.Bob = c.token
			r := work(t, &as, dir, c.url, commands[name])
			r.WantExit(c.code)
			if got := r.Err.String(); !strings.Contains(got, c.says) || strings.Count(got, "\n") > 3 {
				t.Errorf("%s: got %q, want a line with %s", name, got, c.says)
			}
		}
	}
}

// An agent of the pages sends its token to nobody whom a redirect names, and says that it got no answer.
func TestAgentsOfThePagesFollowNoRedirect(t *testing.T) {
	t.Parallel()
	commands := agents(t)
	for _, name := range programs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked, followed atomic.Int32
			other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				followed.Add(1)
			}))
			t.Cleanup(other.Close)
			away := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				http.Redirect(w, r, other.URL+r.URL.Path, http.StatusMovedPermanently)
			}))
			t.Cleanup(away.Close)
			r := work(t, &guildtest.Workplace{Bob: "secret"}, kitchen(t), away.URL, commands[name])
			guildtest.Eventually(t, "it tries again", guildtest.Patience,
				func() bool { return asked.Load() > 1 || followed.Load() > 0 })
			if got := followed.Load(); got > 0 {
				t.Fatalf("got %d requests at the other server, want none", got)
			}
			r.Await(away.URL)
		})
	}
}

// An agent of the pages waits as long as the server asks. Its token may end with a line end, as secrets in
// files often do.
func TestAgentsOfThePagesWait(t *testing.T) {
	t.Parallel()
	const asked = 3 * time.Second // more than any of them waits on its own at first
	commands := agents(t)
	for _, name := range programs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			times := make(chan time.Time, 2)
			busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got := r.Header.Get("Authorization") + ", " + r.Header.Get("Content-Type")
				if want := "Bearer secret, application/json"; got != want {
					t.Errorf("got the headers %q, want %q", got, want)
				}
				select {
				case times <- time.Now():
				default:
				}
				w.Header().Set("Content-Type", "application/problem+json")
				w.Header().Set("Retry-After", "3")
				w.WriteHeader(http.StatusTooManyRequests)
			}))
			t.Cleanup(busy.Close)
			work(t, &guildtest.Workplace{Bob: "secret\n"}, kitchen(t), busy.URL, commands[name])
			guildtest.Eventually(t, "two requests", guildtest.Patience,
				func() bool { return len(times) == 2 })
			first, second := <-times, <-times
			if pause := second.Sub(first); pause < asked {
				t.Errorf("got %v between two requests, want %v or more", pause, asked)
			}
		})
	}
}

// queue is what GET /api/wakes says.
type queue struct {
	Pending []struct{ Error string }
	Claimed []struct{ Attempt int }
	Dead    []struct{ Outcome string }
}

func queueOf(w *guildtest.Workplace) (q queue) {
	w.Do("GET", "/api/wakes", w.Bob, nil, &q, 200)
	return q
}

// An agent of the pages whose model has nothing to say ends the wake as done, without a message.
func TestAgentsOfThePagesWithNothingToSay(t *testing.T) {
	t.Parallel()
	commands := agents(t)
	w := guildtest.NewWorkplace(t, program)
	for name, model := range map[string][2]string{
		"agent.mjs":  {"m.content.toUpperCase()", "''"},
		"agent.py":   {`m["content"].upper()`, `""`},
		"claim.sh":   {".content | ascii_upcase", ` | ""`},
		"plugin.mjs": {"m.content.toUpperCase()", "''"},
	} {
		dir := kitchen(t)
		change(t, dir, name, model[0], model[1])
		id := w.Says(w.Channel, "anything to say?")
		r := work(t, w, dir, w.Base(), commands[name])
		guildtest.Eventually(t, name+": the wake has ended", guildtest.Patience, func() bool {
			var d struct {
				Items []struct{ UserID, State string }
			}
			w.Do("GET", "/api/messages/"+id+"/deliveries", w.Alice, nil, &d, 200)
			for _, one := range d.Items {
				if one.UserID == "bob" {
					return one.State == "done"
				}
			}
			return false
		})
		_ = syscall.Kill(-r.Cmd.Process.Pid, syscall.SIGKILL)
	}
	if q, said := queueOf(w), w.Answers(w.Channel); len(q.Dead)+len(said) > 0 {
		t.Errorf("got %+v and the messages %+v, want none", q, said)
	}
}

// An agent of the pages whose model fails says so, and gives the wake back.
func TestAgentsOfThePagesWhoseModelFails(t *testing.T) {
	t.Parallel()
	commands := agents(t)
	commands["agent.sh"] = "exec fabric-guild agent -exec ./agent.sh"
	for name, model := range map[string][2]string{
		"agent.mjs":  {"wake.messages.map((m) => m.content.toUpperCase()).join('\\n')", "nowhere.ask(wake)"},
		"agent.py":   {`"\n".join(m["content"].upper() for m in wake["messages"])`, "nowhere.ask(wake)"},
		"claim.sh":   {"jq -r '[.wake.messages[].content", "nowhere '"},
		"plugin.mjs": {"wake.messages.map((m) => m.content.toUpperCase()).join('\\n')", "nowhere.ask(wake)"},
		"agent.sh":   {"$(jq ", "$(nowhere "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := guildtest.NewWorkplace(t, program)
			dir := kitchen(t)
			change(t, dir, name, model[0], model[1])
			w.Says(w.Channel, "hi")
			work(t, w, dir, w.Base(), commands[name]).Await("nowhere")
			guildtest.Eventually(t, "the wake is given back", guildtest.Patience, func() bool {
				q := queueOf(w)
				return len(q.Pending) == 1 && q.Pending[0].Error != ""
			})
		})
	}
}

// The model for plugins ends its work when all messages of it are deleted, and posts nothing.
func TestPluginStopsForDeletedMessages(t *testing.T) {
	t.Parallel()
	commands := agents(t)
	w := guildtest.NewWorkplace(t, program)
	id := w.Says(w.Channel, "count to infinity")
	r := work(t, w, kitchen(t), w.Base(), commands["plugin.mjs"], "THINK_MS=600000")
	r.Await("working on 1 messages")
	w.Do("DELETE", "/api/messages/"+id, w.Alice, nil, nil, 200)
	w.Says(w.Channel, "count to one")
	guildtest.Eventually(t, "it begins the next work", guildtest.Patience,
		func() bool { return strings.Count(r.Err.String(), "working on") == 2 })
	if q := queueOf(w); len(q.Pending)+len(q.Dead) > 0 || len(w.Answers(w.Channel)) > 0 {
		t.Errorf("got %+v and %+v, want only the new work", q, w.Answers(w.Channel))
	}
}
