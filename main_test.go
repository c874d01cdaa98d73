package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/center/centertest"
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/guildtest"
)

// The program that the tests run: the real one, built once.
var program guildtest.Program

func TestMain(m *testing.M) { os.Exit(program.Main(m, config.EnvPrefix)) }

// The log is cut short by the flags, at start too; who comes from before is told, and who does not is not.
func TestRetention(t *testing.T) {
	t.Parallel()
	state, database := guildtest.StateDir(t), dbtest.New(t)
	n := program.Start(t, state, "-database-url", database)
	base, l := n.Base(), guildtest.NewLoad(t, n)
	bob := l.Listen("bob", func() string { return base })
	from := bob.Record().Cursor
	for i := range 20 {
		if status, err := l.Post(base, l.Channels[0], fmt.Sprint(i)); err != nil || status != http.StatusCreated {
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
		return strings.Contains(again.Log(), `msg="retention removed old events" events=21 `) // six channels, too
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

func TestCommandLine(t *testing.T) {
	t.Parallel()
	state := guildtest.StateDir(t)
	if _, err := auth.OpenTokens(state); err != nil {
		t.Fatal(err)
	}
	unreachable := "postgres://guild:" + guildtest.Sesame + "@127.0.0.1:1/guild"
	for _, tt := range []struct {
		name           string
		env, args      []string
		code           int
		stdout, stderr string // expressions for all of it
	}{
		{"version", nil, []string{"version"}, 0, `fabric-guild \S+ go1\.\S+\n`, ``},
		{"--version", nil, []string{"--version"}, 0, `fabric-guild \S+ go1\.\S+\n`, ``},
		{"help", nil, []string{"help"}, 0, `fabric-guild is (.|\n)*-database-url(.|\n)*`, ``},
		{"-h", nil, []string{"-h"}, 0, `fabric-guild is (.|\n)*`, `(.|\n)*-addr(.|\n)*`},
		{"serve -h", nil, []string{"serve", "-h"}, 0, `fabric-guild is (.|\n)*`, `(.|\n)*-addr(.|\n)*`},
		{"token -h", nil, []string{"token", "-h"}, 0, ``, `(.|\n)*-ttl(.|\n)*`},
		{"unknown command", nil, []string{"sevre"}, 2, ``, `.*"sevre".*\n`},
		{"unknown flag", nil, []string{"-prot", "1"}, 2, ``, `.*-prot.*\n`},
		{"bad value", nil, []string{"-drain-streams", "soon"}, 2, ``, `(.|\n)*"soon"(.|\n)*`},
		{"bad age", nil, []string{"-stream-max-age", "10ms"}, 2, ``, `.*-stream-max-age.*\n`},
		{"bad transport", nil, []string{"-transport", "pigeon"}, 2, ``, `.*-transport.*\n`},
		{"Center without its key", nil, []string{"-state", state, "-database-url", unreachable, "-center-base-url", "http://127.0.0.1:1"}, 2, ``, `.*-center-base-url and -center-api-key.*\n`},
		{"a key without its Center", nil, []string{"-state", state, "-database-url", unreachable, "-center-api-key", guildtest.Sesame}, 2, ``, `.*-center-base-url and -center-api-key.*\n`},
		{"a doorbell without its database", nil, []string{"-state", state, "-doorbell-url", unreachable}, 2, ``, `.*-doorbell-url.*-database-url.*\n`},
		{"bad retention", nil, []string{"-retention", "-1h"}, 2, ``, `.*-retention.*\n`},
		{"bad log format", nil, []string{"-log-format", "xml"}, 2, ``, `.*-log-format.*\n`},
		{"profiles for everybody", nil, []string{"-debug-addr", ":6060"}, 2, ``, `.*-debug-addr .* loopback.*\n`},
		{"profiles for a network", nil, []string{"-debug-addr", "192.0.2.1:6060"}, 2, ``, `.*-debug-addr .* loopback.*\n`},
		{"profiles nowhere", nil, []string{"-debug-addr", "127.0.0.1"}, 2, ``, `.*-debug-addr .* loopback.*\n`},
		{"bad prefix", nil, []string{"-base-path", "chat"}, 2, ``, `.*-base-path.*\n`},
		{"a certificate without its key", nil, []string{"-tls-cert", "cert.pem"}, 2, ``, `.*-tls-cert and -tls-key.*\n`},
		{"no certificate there", nil, []string{"-state", state, "-tls-cert", "/none/cert.pem", "-tls-key", "/none/key.pem"}, 1, ``, `fabric-guild: .*certificate.*/none/cert\.pem.*\n`},
		{"any origin", nil, []string{"-allow-origin", "*"}, 2, ``, `(.|\n)*-allow-origin(.|\n)*`},
		{"an origin with a path", nil, []string{"-allow-origin", "https://a.example,https://b.example/"}, 2, ``, `(.|\n)*https://b\.example/(.|\n)*`},
		{"no network", nil, []string{"-trusted-proxies", "10.0.0.0/8,proxy"}, 2, ``, `(.|\n)*"proxy"(.|\n)*`},
		{"less than no rate", nil, []string{"-rate-limit", "-1"}, 2, ``, `.*-rate-limit.*\n`},
		{"a rate without end", nil, []string{"-rate-limit", "Inf"}, 2, ``, `.*-rate-limit.*\n`},
		{"no rate", nil, []string{"-rate-limit", "NaN"}, 2, ``, `.*-rate-limit.*\n`},
		{"a URL for a host", nil, []string{"-allow-host", "guild.example,https://b.example"}, 2, ``, `(.|\n)*a name alone(.|\n)*`},
		{"an address for a host", nil, []string{"-allow-host", "fd00::5", "-state", state, "-database-url", unreachable, "-addr", "127.0.0.1:0"}, 1, ``, `fabric-guild: .*127\.0\.0\.1:1.*refused.*\n`},
		{"a port with a host", nil, []string{"-allow-host", "guild.example:8080"}, 2, ``, `(.|\n)*a name alone(.|\n)*`},
		{"argument too many", nil, []string{"serve", "now"}, 2, ``, `.*"now".*\n`},
		{"bad twin", []string{config.EnvPrefix + "DRAIN_STREAMS=soon"}, nil, 2, ``, `.*` + config.EnvPrefix + `DRAIN_STREAMS.*\n`},
		{"no source of binaries", nil, []string{"-postgres-source", "nowhere"}, 2, ``, `(?s).*must be a URL, or never.*`},
		{"a flag wins over its twin", []string{config.EnvPrefix + "STATE=/dev/null/none"}, []string{"token", "-state", state, "alice"}, 0, `\S+\n`, ``},
		{"state twin", []string{config.EnvPrefix + "STATE=" + state}, []string{"token", "alice"}, 0, `\S+\n`, ``},
		{"a token each", nil, []string{"token", "-state", state, "-ttl", "1h", "-guild", "g1", "alice", "bob"}, 0, `(ey\S+\.\S+\.\S+\n){2}`, ``},
		{"token for nobody", nil, []string{"token", "-state", state}, 2, ``, `.*user.*\n`},
		{"token for a flag", nil, []string{"token", "-state", state, "alice", "-rotate"}, 2, ``, `.*-rotate.*\n`},
		{"token with a new key", nil, []string{"token", "-state", state + "/new", "alice"}, 0, `\S+\n`, `There was no key in .*/new, .*\n`},
		{"token for no id", nil, []string{"token", "-state", state, "a b"}, 1, ``, `.*"a b" is no id.*\n`},
		{"token without time", nil, []string{"token", "-state", state, "-ttl", "0s", "alice"}, 2, ``, `.*-ttl.*\n`},
		{"admin without refresh", nil, []string{"admin"}, 2, ``, `.*refresh.*\n`},
		{"serve, unreachable", nil, []string{"serve", "-state", state, "-addr", "127.0.0.1:0", "-database-url", unreachable}, 1, ``, `fabric-guild: .*127\.0\.0\.1:1.*refused.*\n`},
		{"migrate, unreachable", nil, []string{"migrate", "-state", state, "-database-url", unreachable}, 1, ``, `fabric-guild: .*127\.0\.0\.1:1.*refused.*\n`},
		{"migrate and a flag", nil, []string{"migrate", "status", "-state", state}, 2, ``, `.* -state came after.*\n`},
		{"database twin", []string{"DATABASE_URL=" + unreachable}, []string{"migrate", "-state", state}, 1, ``, `fabric-guild: .*127\.0\.0\.1:1.*\n(.|\n)*`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := program.Run(t, tt.env, tt.args...)
			if code != tt.code {
				t.Errorf("got exit %d, want %d", code, tt.code)
			}
			for _, out := range []struct{ name, got, want string }{{"stdout", stdout, tt.stdout}, {"stderr", stderr, tt.stderr}} {
				if !regexp.MustCompile(`^` + out.want + `$`).MatchString(out.got) {
					t.Errorf("%s: got %q, want all of it to match %q", out.name, out.got, out.want)
				}
				if strings.Contains(out.got, guildtest.Sesame) {
					t.Errorf("%s tells a password: %q", out.name, out.got)
				}
			}
		})
	}
}

// Whoever collects logs as JSON gets nothing else: neither the greeting nor progress, nor the error at the end.
func TestAJSONLogIsNothingElse(t *testing.T) {
	t.Parallel()
	state := guildtest.StateDir(t)
	n := program.Launch(t, state, nil, exec.Command(program.Path, "-state", state, "-addr", "127.0.0.1:0", "-log-format", "json", "-debug-addr", "127.0.0.1:0"))
	profiles := regexp.MustCompile(`"msg":"profiles are served","url":"([^"]+)"`).FindStringSubmatch(n.Log())
	if profiles == nil {
		t.Fatalf("got %s, want a line that tells where profiles are", n.Log())
	}
	for path, want := range map[string]int{"heap": http.StatusOK, "goroutine": http.StatusOK, "cmdline": http.StatusNotFound} {
		if got, err := guildtest.Call(t.Context(), http.MethodGet, profiles[1]+path, "", nil, nil); err != nil || got != want {
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
	_, failed, code := program.Run(t, nil, "-state", state, "-addr", "127.0.0.1:0", "-log-format", "json", "-database-url", "postgres://guild@127.0.0.1:1/guild")
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
	for _, want := range []string{"creating a private Postgres", "ready", "stopping: streams end, requests finish", "the server ends"} {
		if !slices.ContainsFunc(messages, func(m string) bool { return strings.HasPrefix(m, want) }) {
			t.Errorf("got the lines %q, want %q among them", messages, want)
		}
	}
}

func TestEnvironmentTwinsOfServe(t *testing.T) {
	t.Parallel()
	state := guildtest.StateDir(t)
	n := program.Launch(t, state, []string{
		config.EnvPrefix + "ADDR=127.0.0.1:0", config.EnvPrefix + "STATE=" + state, config.EnvPrefix + "BASE_PATH=/chat/",
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
	stdout, _, _ := program.Run(t, []string{config.EnvPrefix + "GUILD=g1"}, "token", "-state", state, "-guild", "g2", "alice")
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

func TestRotatedKeyEndsTokens(t *testing.T) {
	t.Parallel()
	state := guildtest.StateDir(t)
	n := program.Start(t, state, "-database-url", dbtest.New(t))
	me := func(token string) int { return n.Get("/api/me", token, nil) }
	old := n.Token("alice")
	if got := me(old); got != http.StatusOK {
		t.Fatalf("got %d for a fresh token, want 200", got)
	}
	stdout, stderr, code := program.Run(t, nil, "token", "-state", state, "-rotate")
	if code != 0 || stdout != "" || stderr != "" {
		t.Errorf("got exit %d, %q and %q, want 0 and nothing to read", code, stdout, stderr)
	}
	young := n.Token("alice")
	guildtest.Eventually(t, "the old token is refused", guildtest.Patience, func() bool { return me(old) == http.StatusUnauthorized })
	if got := me(young); got != http.StatusOK {
		t.Errorf("got %d for a token of the new key, want 200", got)
	}
}

func TestAdminRefresh(t *testing.T) {
	t.Parallel()
	state, fake := guildtest.StateDir(t), centertest.New(t)
	n := program.Start(t, state, "-database-url", dbtest.New(t), "-center-base-url", fake.URL, "-center-api-key", fake.APIKey)
	refresh := func(state string) (stdout, stderr string, code int) {
		return program.Run(t, nil, "admin", "refresh", "-state", state, "-addr", n.Addr())
	}
	wantAnswer := func(want string) {
		t.Helper()
		if stdout, stderr, code := refresh(state); code != 0 || stdout != want+"\n" || stderr != "" {
			t.Errorf("got exit %d, %q and %q, want 0 and the line %s alone", code, stdout, stderr, want)
		}
	}
	wantError := func(state, want string) {
		t.Helper()
		var told map[string]any
		stdout, stderr, code := refresh(state)
		err := json.Unmarshal([]byte(stderr), &told)
		if message, _ := told["error"].(string); code != 1 || stdout != "" || !guildtest.IsOneLine(stderr) || err != nil || told["ok"] != false || !strings.Contains(message, want) {
			t.Errorf("got exit %d, %q and %q, want 1 and a line alone on stderr, not ok, with the error %q", code, stdout, stderr, want)
		}
	}
	wantAnswer(`{"ok":true,"before":null,"after":null,"changed":false}`)
	fake.SetAdmin("ada@example.org", "ada")
	wantAnswer(`{"ok":true,"before":null,"after":{"email":"ada@example.org","userId":"ada"},"changed":true}`)
	calls := fake.Calls(centertest.AdminEmail)
	stranger := guildtest.StateDir(t)
	wantError(stranger, "no such file") // whoever operates no server has no key
	if _, err := auth.OpenOperatorKey(stranger); err != nil {
		t.Fatal(err)
	}
	wantError(stranger, "401") // another operator's
	if got := fake.Calls(centertest.AdminEmail); got != calls {
		t.Errorf("got %d calls of Center, want no more than %d: a wrong key refreshes nothing", got, calls)
	}
	n.Stop()
	wantError(state, "reach the server")
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
		{http.MethodPost, messages, alice, json.RawMessage(`{"content":"` + guildtest.Sesame + `",}`), http.StatusBadRequest},
		{http.MethodPost, messages, alice, map[string]any{"content": guildtest.Sesame + "\x00"}, http.StatusUnprocessableEntity},
		{http.MethodPost, messages, alice, map[string]any{"content": guildtest.Sesame, "replyTo": guildtest.Sesame}, http.StatusUnprocessableEntity},
		{http.MethodPost, messages, alice, map[string]any{guildtest.Sesame: guildtest.Sesame}, http.StatusBadRequest},
		{http.MethodPost, messages, alice, map[string]any{"content": guildtest.Sesame}, http.StatusCreated},
		{http.MethodGet, n.Base() + "/api/me", guildtest.Sesame, nil, http.StatusUnauthorized},
		{http.MethodGet, n.Base() + "/api/me?access_token=" + alice, "", nil, http.StatusBadRequest},
		{http.MethodGet, n.Base() + "/api/stream?token=" + alice, alice, nil, http.StatusBadRequest},
		{http.MethodGet, n.Base() + "/api/stream?lastEventId=" + guildtest.Sesame, alice, nil, http.StatusBadRequest},
	} {
		if got, err := guildtest.Call(t.Context(), tt.method, tt.url, tt.token, tt.body, nil); err != nil || got != tt.want {
			t.Errorf("%s %s %v: got %d and %v, want %d", tt.method, tt.url, tt.body, got, err, tt.want)
		}
	}
	if !strings.Contains(n.Log(), "path=/api/me") {
		t.Error("got no line for a request, want one: else this test shows nothing")
	}
}

func TestStartUpCommands(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("the commands are curl's, which is not installed")
	}
	database := dbtest.New(t)
	for name, dirs := range map[string][2]string{
		"absolute": {program.Path, guildtest.StateDir(t)},
		"relative": {"./fabric-guild", "state"},
		"awkward":  {"./a program", "it's a state"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := guildtest.StateDir(t)
			if !filepath.IsAbs(dirs[0]) {
				if err := os.Symlink(program.Path, filepath.Join(dir, dirs[0])); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command(dirs[0], "-state", dirs[1], "-addr", "127.0.0.1:0", "-database-url", database)
			cmd.Dir = dir
			tryStartUpCommands(t, program.Launch(t, dirs[1], nil, cmd))
		})
	}
}

func tryStartUpCommands(t *testing.T, n *guildtest.Node) {
	t.Helper()
	run := func(what, channel, want string) string {
		script := n.Printed(what, channel)
		out, ended := n.Shell(script)
		err := <-ended
		m := regexp.MustCompile(want).FindStringSubmatch(out.String())
		if err != nil || m == nil {
			t.Fatalf("%s: got %v and %q, want %s", script, err, out, want)
		}
		return m[1]
	}
	stream, ended := n.Shell(n.Printed("stream", "") + "\nwait")
	guildtest.Eventually(t, "a stream, or why there is none", guildtest.Patience, func() bool {
		return strings.Contains(stream.String(), "event: stream.ready\n") || len(ended) > 0
	})
	channel := run("channel", "", `"id":"([0-9a-f-]{36})"`)
	run("message", channel, `"wakeups":\[\{"userId":"(bob)"`)
	guildtest.Eventually(t, "the stream tells of both", guildtest.Patience, func() bool {
		return strings.Contains(stream.String(), "event: channel.joined\n") && strings.Contains(stream.String(), "event: message.created\n")
	})
	n.Stop()
	if err := <-ended; err != nil || !strings.Contains(stream.String(), "event: stream.closing\n") {
		t.Errorf("got %v and %q, want a stream that was closed in order", err, stream)
	}
}

// Imports go one way. What a package may not know it cannot come to depend on.
func TestImports(t *testing.T) {
	t.Parallel()
	const module, helper = "fabric-guild", "fabric-guild/*test"
	isHelper := func(name string) bool { return strings.HasPrefix(name, module+"/") && strings.HasSuffix(name, "test") }
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f",
		`{{.ImportPath}}:{{join .Imports " "}}:{{join .Deps " "}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	type imports struct{ direct, all []string }
	packages := map[string]imports{}
	for line := range strings.Lines(string(out)) {
		parts := strings.Split(strings.TrimSpace(line), ":")
		packages[parts[0]] = imports{strings.Fields(parts[1]), strings.Fields(parts[2])}
	}
	for _, ban := range []struct {
		of, what, why string
		direct        bool // what others need for themselves is no matter
	}{
		{"/events", module, "rules and encoding know no other package", false},
		{"/events", "github.com/jackc", "SQL is for db alone", false},
		{"/events", "sync!", "rules and encoding take no lock; sync/atomic is enough for cached frames", true},
		{"/events", "context", "rules and encoding do not wait", true},
		{"/events", "net", "rules and encoding have no I/O", true},
		{"/events", "os", "rules and encoding have no I/O", true},
		{"/events", "log", "rules and encoding return results, and log nothing", true},
		{"/events", "math/rand", "the same question has the same answer", true},
		{"/events", "runtime", "rules and encoding do not depend on the machine", true},
		{"/events/live", module + "/handlers", "the streams know no routes", false},
		{"/events/live", module + "/db", "the event log is an interface there, so that tests need no database", false},
		{"/events/live", module + "/events/transport", "a transport is an interface there", false},
		{"/events/live", "net", "connections are for transports", true},
		{"/events/live", "github.com/jackc", "SQL is for db alone", false},
		{"/events/live", "github.com/prometheus", "it counts for itself; handlers decide what metrics show", false},
		{"/events/transport", module + "/handlers", "a transport knows no routes", false},
		{"/events/transport", module + "/db", "a transport knows no database", false},
		{"/events/transport", "github.com/jackc", "SQL is for db alone", false},
		{"/events/follow", module + "/events/live", "a client of the server has no streams to serve", false},
		{"/events/tail", module + "/events/live", "a client of the server has no streams to serve", false},
		{"/events/remote", module + "/events/live", "a client of the server has no streams to serve", false},
		{"/db", module + "/events/live", "the event log does not know who reads it", false},
		{"/events/follow", module + "/db", "a client of the server has no database", false},
		{"/events/follow", module + "/handlers", "a client of the server knows it by its wire", false},
		{"/events/tail", module + "/db", "a client of the server has no database", false},
		{"/events/remote", module + "/db", "a client of the server has no database", false},
		{"/events/tail", module + "/handlers", "a client of the server knows it by its wire", false},
		{"/events/remote", module + "/handlers", "a client of the server knows it by its wire", false},
		{"/db", "github.com/prometheus", "it counts for itself: who is told how much is decided in handlers", false},
		{"/db", module + "/handlers", "the log must not know who asks", false},
		{"/db", "net/http", "status codes are decided in handlers", true},
		{"/db/pgrun", module + "/db", "a Postgres is run without a schema; dbtest and main put the two together", false},
		{"/db/pgrun", module + "/events", "a Postgres is run without a schema", false},
		{"/migrations", module, "they are data", false},
		{"/handlers", "github.com/jackc", "the driver's errors become ours in db only", true},
		{"/handlers", "database/sql", "every query is a method of db", true},
		{"/handlers", module + "/db/pgrun", "where Postgres comes from is main's to know", false},
		{"/handlers/web", module + "/handlers", "it knows HTTP, not the guild", false},
		{"/handlers/web", module + "/db", "it knows HTTP, not the guild", false},
		{"/handlers/web", module + "/events/live", "it knows HTTP, not the guild", false},
		{"/handlers/auth", module + "/handlers!", "who somebody is does not depend on what they ask for", false},
		{"/handlers/auth", module + "/db", "tokens need no database", false},
		{"/handlers/auth", module + "/events/live", "a stream is an interface there", false},
		{"/handlers/chat", module, "rules take small values, and know no house", false},
		{"/handlers/chat", "net", "rules have no I/O", true},
		{"/handlers/chat", "os", "rules have no I/O", true},
		{"/handlers/chat", "database", "rules have no I/O", true},
		{"/handlers/chat", "context", "rules do not wait", true},
		{"/handlers/chat", "time", "rules have no clock", true},
		{"/handlers/chat", "math/rand", "the same question has the same answer", true},
		{"/handlers/chat", "log", "rules have nothing to tell but their result", true},
		{"", "github.com/jackc", "main wires; SQL is for db", true},
		{"*", "testing", "helpers of tests, who import it, are not compiled into the program", true},
		{"*", helper, "it is for tests alone, as its name says", false},
		{"*", module + "!", "main is the end of the line", false},
	} {
		for _, name := range slices.Sorted(maps.Keys(packages)) {
			if ban.of == "*" && isHelper(name) || ban.of != "*" && name != module+ban.of {
				continue
			}
			found := packages[name].all
			if ban.direct {
				found = packages[name].direct
			}
			for _, path := range found {
				if path == strings.TrimSuffix(ban.what, "!") || strings.HasPrefix(path, ban.what+"/") || ban.what == helper && isHelper(path) {
					t.Errorf("%s imports %s, which it may not: %s", name, path, ban.why)
				}
			}
		}
		if _, ok := packages[module+ban.of]; !ok && ban.of != "*" {
			t.Errorf("got no package %s%s, want the one that a rule is about", module, ban.of)
		}
	}
}

// The page run.md has a row for each flag of the server, and no others; the flags of the other commands it names.
func TestPageHasTheFlags(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("handlers/docs/run.md")
	if err != nil {
		t.Fatal(err)
	}
	agents, err := os.ReadFile("handlers/docs/agents.md") // with the flags of tail
	if err != nil {
		t.Fatal(err)
	}
	run := string(b)
	defined := regexp.MustCompile(`(?m)^  -(\S+)`)
	named := regexp.MustCompile("`-([a-z-]+)")
	for _, command := range []string{"serve", "token", "tail", "bench"} {
		help, err := exec.CommandContext(t.Context(), program.Path, command, "-h").CombinedOutput()
		if err != nil {
			t.Fatalf("%s -h: %v", command, err)
		}
		var want []string
		for _, m := range defined.FindAllStringSubmatch(string(help), -1) {
			want = append(want, m[1])
			if !strings.Contains(run+string(agents), "`-"+m[1]) {
				t.Errorf("the pages do not name -%s of %s", m[1], command)
			}
		}
		if command != "serve" {
			continue
		}
		_, table, _ := strings.Cut(run, "\n| flag | default | effect |\n")
		table, _, _ = strings.Cut(table, "\n\n")
		var got []string
		for row := range strings.Lines(table) {
			for _, m := range named.FindAllStringSubmatch(strings.Split(row, "|")[1], -1) {
				got = append(got, m[1])
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("flags of serve (-defined +in docs/run.md):\n%s", diff)
		}
	}
}
