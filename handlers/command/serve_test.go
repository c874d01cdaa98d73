package command

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/guildtest"
)

// The flags limit the event log, at the start too. A stream from before the limit gets a reset, others do
// not.
func TestRetention(t *testing.T) {
	dbtest.Long(t) // TestEnvironmentTwinsOfServe is fast
	t.Parallel()
	state, database := guildtest.StateDir(t), dbtest.New(t)
	n := program.Start(t, state, "-database-url", database)
	base, l := n.Base(), guildtest.NewLoad(t, n)
	bob := l.Listen("bob", func() string { return base })
	from := bob.Record().Cursor
	for i := range 20 {
		if status, err := l.Post(base, l.Channels[0], fmt.Sprint(i)); err != nil ||
			status != http.StatusCreated {
			t.Fatalf("got %d and %v for a post, want 201", status, err)
		}
	}
	bob.Await("the last", func(got guildtest.Record) bool { return got.Heard("19") })
	if strings.Contains(n.Log(), "old events") {
		t.Error("got events removed that are not old")
	}
	n.Stop()
	again := program.Start(t, state, "-database-url", database, "-addr", n.Addr(), "-retention-events", "5")
	guildtest.Eventually(t, "events are removed", guildtest.Recovery, func() bool {
		// six channels, too
		return strings.Contains(again.Log(), `msg="retention removed old events" events=21 `)
	})
	for cursor, want := range map[string]string{from: "stream.reset", bob.Record().Cursor: "stream.ready"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/api/stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Last-Event-Id": {cursor}, "Authorization": {"Bearer " + again.Token("bob")}}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		lines := bufio.NewScanner(answer.Body)
		for lines.Scan() && !strings.HasPrefix(lines.Text(), "event: ") {
		}
		if got := strings.TrimPrefix(lines.Text(), "event: "); got != want {
			t.Errorf("from %s: got %s, want %s", cursor, got, want)
		}
	}
}

// Whoever collects logs as JSON gets nothing else: neither the greeting nor progress, nor the error at the
// end.
func TestAJSONLogIsNothingElse(t *testing.T) {
	dbtest.Long(t) // TestNothingSecretIsLogged is fast
	t.Parallel()
	state := guildtest.StateDir(t)
	n := program.Launch(t, state, nil, exec.Command(program.Path, "-state", state, "-addr", "127.0.0.1:0",
		"-log-format", "json", "-debug-addr", "127.0.0.1:0"))
	profiles := regexp.MustCompile(`"msg":"profiles are served","url":"([^"]+)"`).FindStringSubmatch(n.Log())
	if profiles == nil {
		t.Fatalf("got %s, want a line that tells where profiles are", n.Log())
	}
	for path, want := range map[string]int{
		"heap": http.StatusOK, "goroutine": http.StatusOK,
		"cmdline": http.StatusNotFound,
	} {
		if got, err := guildtest.Call(t.Context(), http.MethodGet, profiles[1]+path, "", nil,
			nil); err != nil || got != want {
			t.Errorf("%s: got %d and %v, want %d", path, got, err, want)
		}
	}
	rebound, err := http.NewRequestWithContext(t.Context(), http.MethodGet, profiles[1]+"heap", nil)
	if err != nil {
		t.Fatal(err)
	}
	rebound.Host = "evil.example" // whose owner had it lead here
	resp, err := http.DefaultClient.Do(rebound)
	if err != nil {
		t.Fatal(err)
	}
	if _ = resp.Body.Close(); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("got %s of the profiles by another name, want 421", resp.Status)
	}
	n.Stop()
	_, failed, code := program.Run(t, nil, "-state", state, "-addr", "127.0.0.1:0", "-log-format", "json",
		"-database-url", "postgres://guild@127.0.0.1:1/guild")
	if code != 1 || !strings.Contains(failed, `"level":"ERROR"`) || !strings.Contains(failed, "refused") {
		t.Errorf("got exit %d and %q, want 1 and the reason as a line of the log", code, failed)
	}
	var messages []string
	for line := range strings.Lines(n.Log() + failed) {
		var l struct{ Time, Level, Msg string }
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Time == "" || l.Level == "" {
			t.Errorf("got %q and %v, want a line of the log as JSON", line, err)
		}
		messages = append(messages, l.Msg)
	}
	for _, want := range []string{
		"creating a private Postgres", "ready",
		"stopping: streams end, requests finish", "the server ends",
	} {
		if !slices.ContainsFunc(messages, func(m string) bool { return strings.HasPrefix(m, want) }) {
			t.Errorf("got the lines %q, want %q among them", messages, want)
		}
	}
}

// A signal ends a server that is not ready yet, and that is no fault.
func TestSignalDuringTheStart(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // a Postgres that never answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	r := program.Client(t, nil, program.Path, "-state", guildtest.StateDir(t), "-addr", "127.0.0.1:0",
		"-database-url", "postgres://guild@"+silent.Addr().String()+"/guild?sslmode=disable")
	r.Start(guildtest.Sesame)
	conn, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	r.Stop()
	if got := r.Err.String(); strings.Contains(got, "level=ERROR") || strings.Contains(got, "fabric-guild:") {
		t.Errorf("got %q, want no error", got)
	}
}

func TestEnvironmentTwinsOfServe(t *testing.T) {
	t.Parallel()
	state := guildtest.StateDir(t)
	n := program.Launch(t, state, []string{
		config.EnvPrefix + "ADDR=127.0.0.1:0", config.EnvPrefix + "STATE=" + state,
		config.EnvPrefix + "BASE_PATH=/chat/",
		config.EnvPrefix + "DATABASE_URL=" + dbtest.New(t), "DATABASE_URL=postgres://nobody@127.0.0.1:1/none",
		config.EnvPrefix + "STREAM_MAX_AGE=1s",
	}, exec.Command(program.Path, "-log-level", "debug"))
	if got := n.Get("/api/stream", n.Token("alice"), nil); got != http.StatusOK {
		t.Errorf("got %d, want a stream that ends by itself", got)
	}
	if got := n.Get("/api/me", n.Token("alice"), nil); got != http.StatusOK {
		t.Errorf("got %d, want 200: the key is in the state directory", got)
	}
	var me struct{ GuildIDs []string }
	stdout, _, _ := program.Run(t, []string{config.EnvPrefix + "GUILD=g1"}, "token", "-state", state,
		"-guild", "g2", "alice")
	n.Get("/api/me", strings.TrimSpace(stdout), &me)
	if diff := cmp.Diff([]string{"g2"}, me.GuildIDs); diff != "" {
		t.Errorf("guilds of a token, where the flag wins over its twin (-want +got):\n%s", diff)
	}
	if !strings.HasSuffix(n.Base(), "/chat") {
		t.Errorf("got %s, want an address with the prefix", n.Base())
	}
	if _, err := os.Stat(filepath.Join(state, "postgres")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for a private cluster, want none beside a database URL", err)
	}
	n.Stop()
}

// Every server of these tests logs at the debug level, and the end of each looks for tokens and contents.
// This one sends what a careless error message would repeat.
func TestNothingSecretIsLogged(t *testing.T) {
	t.Parallel()
	n := program.Start(t, guildtest.StateDir(t), "-database-url", dbtest.New(t))
	l := guildtest.NewLoad(t, n)
	alice, messages := n.Token("alice"), n.Base()+"/api/channels/"+l.Channels[0]+"/messages"
	for _, tt := range []struct {
		method, url, token string
		body               any
		want               int
	}{
		{
			http.MethodPost, messages, alice, json.RawMessage(`{"content":"` + guildtest.Sesame + `",}`),
			http.StatusBadRequest,
		},
		{
			http.MethodPost, messages, alice,
			map[string]any{"content": guildtest.Sesame + "\x00"},
			http.StatusUnprocessableEntity,
		},
		{
			http.MethodPost, messages, alice,
			map[string]any{"content": guildtest.Sesame, "replyTo": guildtest.Sesame},
			http.StatusUnprocessableEntity,
		},
		{
			http.MethodPost, messages, alice,
			map[string]any{guildtest.Sesame: guildtest.Sesame},
			http.StatusBadRequest,
		},
		{http.MethodPost, messages, alice, map[string]any{"content": guildtest.Sesame}, http.StatusCreated},
		{http.MethodGet, n.Base() + "/api/me", guildtest.Sesame, nil, http.StatusUnauthorized},
		{http.MethodGet, n.Base() + "/api/me?access_token=" + alice, "", nil, http.StatusBadRequest},
		{http.MethodGet, n.Base() + "/api/stream?token=" + alice, alice, nil, http.StatusBadRequest},
		{
			http.MethodGet, n.Base() + "/api/stream?lastEventId=" + guildtest.Sesame, alice, nil,
			http.StatusBadRequest,
		},
	} {
		if got, err := guildtest.Call(t.Context(), tt.method, tt.url, tt.token, tt.body, nil); err != nil ||
			got != tt.want {
			t.Errorf("%s %s %v: got %d and %v, want %d", tt.method, tt.url, tt.body, got, err, tt.want)
		}
	}
	if !strings.Contains(n.Log(), "path=/api/me") {
		t.Error("got no line for a request, want one: else this test shows nothing")
	}
}
