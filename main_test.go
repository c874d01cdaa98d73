package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"fabric-guild/db/dbtest"
)

// The program that the tests run: the real one, built once.
var program string

const (
	patience = 60 * time.Second // what takes longer hangs
	recovery = 15 * time.Second // what a deployment may take to be itself again
	// sesame is in everything that must not reach a log: contents of messages, bad tokens, passwords.
	sesame = "open-sesame"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "fabric-guild-program-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := 1
	program = filepath.Join(dir, "fabric-guild")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v\n%s", err, out)
	} else {
		code = dbtest.Main(m)
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func TestDrainAndSecondStart(t *testing.T) {
	t.Parallel()
	state := stateDir(t)
	n := start(t, state)
	postmaster, l := n.postmaster(), newLoad(t, n)
	bob := l.listen("bob", n.base)
	if status, err := l.post(n.base(), l.channels[0], "before"); err != nil || status != http.StatusCreated {
		t.Fatalf("got %d and %v for a post, want 201", status, err)
	}
	bob.await("the first message", func() bool { return bob.heard("before") })

	finish := l.postSlowly(n, l.channels[1], "slow")
	n.signal(syscall.SIGTERM)
	bob.awaitClosing()
	if n.exited() {
		t.Error("got an exit, want the request in flight awaited")
	}
	finish()
	n.awaitExit(0)
	if err := syscall.Kill(postmaster, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("got %v from a signal to Postgres, want that it has ended", err)
	}
	if !lockFree(t, state) {
		t.Error("got processes of Postgres that live on, want none")
	}

	resume, seen := bob.cursor, len(bob.frames) // it stands still: there is no server
	again := start(t, state, "-addr", n.addr())
	bob.await("what came after its stream", func() bool { return bob.heard("slow") })
	want := frame{Event: "stream.ready", Data: fmt.Sprintf(`{"cursor":%q,"userId":"bob","resumed":true}`, resume), ID: resume}
	if diff := cmp.Diff(want, bob.frames[seen]); diff != "" {
		t.Errorf("the first frame after the second start (-want +got):\n%s", diff)
	}
	l.verify(bob, number)
	again.stop()
}

func TestKilledServerLosesNothing(t *testing.T) {
	t.Parallel()
	state := stateDir(t)
	n := start(t, state)
	l, base := newLoad(t, n), n.base()
	address := func() string { return base } // it stays the same
	bob := l.listen("bob", address)
	l.write(8, address)
	for range 3 {
		l.awaitMore(300, recovery)
		n.signal(syscall.SIGKILL)
		n.awaitExit(-1)
		n2 := start(t, state, "-addr", n.addr())
		n2.secrets = append(n2.secrets, n.secrets...)
		n = n2
	}
	l.awaitMore(300, recovery)
	l.finish()
	l.verify(bob, number)
}

func TestKilledPostgresLosesNothing(t *testing.T) {
	t.Parallel()
	n := start(t, stateDir(t))
	l := newLoad(t, n)
	bob := l.listen("bob", n.base)
	l.write(8, n.base)
	for range 2 {
		l.awaitMore(300, recovery)
		postmaster, refused := n.postmaster(), l.count().refused
		if err := syscall.Kill(postmaster, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "posts are refused", recovery, func() bool { return l.count().refused > refused })
		l.awaitMore(300, recovery)
	}
	n.awaitReady()
	l.finish()
	if n.exited() {
		t.Error("got an exit, want the server to live on")
	}
	if got := l.count().failed; got > 0 {
		t.Errorf("got %d posts without an answer, want the server to answer them all", got)
	}
	l.verify(bob, number)
	if bob.ends > 0 {
		t.Errorf("got %d ends of the stream, want that it waits for Postgres", bob.ends)
	}
	if a, b, _ := strings.Cut(bob.frames[0].ID, "."); a == "" || strings.HasPrefix(bob.cursor, a+".") {
		t.Errorf("got ids from %s.%s to %s, want an epoch for each life of Postgres", a, b, bob.cursor)
	}
}

func TestTwoServersOnOneDatabase(t *testing.T) {
	t.Parallel()
	state, url := stateDir(t), dbtest.New(t)
	a, b := start(t, state, "-database-url", url), start(t, state, "-database-url", url)
	l := newLoad(t, a)
	aThenB := func() string {
		if a.exited() {
			return b.base()
		}
		return a.base()
	}
	var readers []*reader
	for _, user := range []string{"bob", "carol"} {
		readers = append(readers, l.listen(user, aThenB), l.listen(user, b.base)) // both of a user carry the same
	}
	l.write(4, aThenB)
	l.write(4, b.base)
	l.awaitMore(300, recovery)
	commit := l.holdOpen(url, "late")
	l.awaitMore(100, recovery) // others commit what has a greater number
	commit()
	a.signal(syscall.SIGKILL)
	a.awaitExit(-1)
	l.awaitMore(300, recovery)
	l.finish()
	want := readers[0].messages()
	for _, r := range readers {
		l.verify(r, whole)
		if got := r.messages(); !slices.Equal(got, want) {
			i := 0
			for i < min(len(got), len(want)) && got[i] == want[i] {
				i++
			}
			t.Errorf("%s: got %d events, want the same %d as %s; they part at number %d", r.user, len(got), len(want), readers[0].user, i)
		}
	}
	b.stop()
}

func TestDropAndResume(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"auto", "r3labs"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			n := start(t, stateDir(t), "-database-url", dbtest.New(t), "-transport", transport)
			l := newLoad(t, n)
			bob := l.listen("bob", n.base, func(r *reader) {
				r.life = func() time.Duration { return time.Duration(rand.N(150)) * time.Millisecond }
			})
			carol := l.listen("carol", n.base) // stays, and hears the drain
			l.write(8, n.base)
			bob.await("a hundred drops", func() bool { return bob.ends >= 100 })
			l.finish()
			l.verify(bob, whole)
			l.verify(carol, whole)
			n.stop()
			carol.awaitClosing()
		})
	}
}

func TestSecondInstanceIsRefused(t *testing.T) {
	t.Parallel()
	state := stateDir(t)
	n := start(t, state)
	if status, err := call(t.Context(), http.MethodGet, n.base()+"/readyz", "", nil, nil); err != nil || status != http.StatusOK {
		t.Errorf("got %d and %v from a server that has just said that it is ready, want 200", status, err)
	}
	_, stderr, code := command(t, nil, "serve", "-state", state, "-addr", "127.0.0.1:0")
	if want := fmt.Sprintf("in use by another instance (process %d)", n.cmd.Process.Pid); code != 1 || !isOneLine(stderr) || !strings.Contains(stderr, want) {
		t.Errorf("the same state: got exit %d and %q, want 1 and a line with %q", code, stderr, want)
	}
	other := stateDir(t)
	_, stderr, code = command(t, nil, "serve", "-state", other, "-addr", n.addr())
	if code != 1 || !isOneLine(stderr) || !strings.Contains(stderr, "address already in use") || !strings.Contains(stderr, "-addr") {
		t.Errorf("the same address: got exit %d and %q, want 1 and a line that tells of -addr", code, stderr)
	}
	if _, err := os.Stat(filepath.Join(other, "postgres")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for the cluster of a server without a port, want that there is none", err)
	}
	n.awaitReady()
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	state := stateDir(t)
	unreachable := "postgres://guild:" + sesame + "@127.0.0.1:1/guild"
	for _, tt := range []struct {
		name           string
		env, args      []string
		code           int
		stdout, stderr string // expressions for all of it
	}{
		{"version", nil, []string{"version"}, 0, `fabric-guild \S+ go1\.\S+\n`, ``},
		{"help", nil, []string{"help"}, 0, `fabric-guild is (.|\n)*-database-url(.|\n)*`, ``},
		{"-h", nil, []string{"-h"}, 0, `fabric-guild is (.|\n)*`, `(.|\n)*-addr(.|\n)*`},
		{"serve -h", nil, []string{"serve", "-h"}, 0, `fabric-guild is (.|\n)*`, `(.|\n)*-addr(.|\n)*`},
		{"token -h", nil, []string{"token", "-h"}, 0, ``, `(.|\n)*-ttl(.|\n)*`},
		{"unknown command", nil, []string{"sevre"}, 2, ``, `.*"sevre".*\n`},
		{"unknown flag", nil, []string{"-prot", "1"}, 2, ``, `(.|\n)*-prot(.|\n)*`},
		{"bad value", nil, []string{"-drain-streams", "soon"}, 2, ``, `(.|\n)*"soon"(.|\n)*`},
		{"bad transport", nil, []string{"-transport", "pigeon"}, 2, ``, `.*-transport.*\n`},
		{"bad prefix", nil, []string{"-base-path", "chat"}, 2, ``, `.*-base-path.*\n`},
		{"argument too many", nil, []string{"serve", "now"}, 2, ``, `.*"now".*\n`},
		{"bad twin", []string{envPrefix + "DRAIN_STREAMS=soon"}, nil, 2, ``, `.*` + envPrefix + `DRAIN_STREAMS.*\n`},
		{"a flag wins over its twin", []string{envPrefix + "STATE=/dev/null/none"}, []string{"token", "-state", state, "alice"}, 0, `\S+\n`, ``},
		{"state twin", []string{envPrefix + "STATE=" + state}, []string{"token", "alice"}, 0, `\S+\n`, ``},
		{"a token each", nil, []string{"token", "-state", state, "-ttl", "1h", "-guild", "g1", "alice", "bob"}, 0, `(ey\S+\.\S+\.\S+\n){2}`, ``},
		{"token for nobody", nil, []string{"token", "-state", state}, 2, ``, `.*user.*\n`},
		{"token for a flag", nil, []string{"token", "-state", state, "alice", "-rotate"}, 2, ``, `.*-rotate.*\n`},
		{"token for no id", nil, []string{"token", "-state", state, "a b"}, 1, ``, `.*"a b" is no id.*\n`},
		{"token without time", nil, []string{"token", "-state", state, "-ttl", "0s", "alice"}, 2, ``, `.*-ttl.*\n`},
		{"serve, unreachable", nil, []string{"serve", "-state", state, "-addr", "127.0.0.1:0", "-database-url", unreachable}, 1, ``, `fabric-guild: .*127\.0\.0\.1:1.*refused.*\n`},
		{"migrate, unreachable", nil, []string{"migrate", "-state", state, "-database-url", unreachable}, 1, ``, `fabric-guild: .*127\.0\.0\.1:1.*refused.*\n`},
		{"database twin", []string{"DATABASE_URL=" + unreachable}, []string{"migrate", "-state", state}, 1, ``, `fabric-guild: .*127\.0\.0\.1:1.*\n(.|\n)*`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := command(t, tt.env, tt.args...)
			if code != tt.code {
				t.Errorf("got exit %d, want %d", code, tt.code)
			}
			for _, out := range []struct{ name, got, want string }{{"stdout", stdout, tt.stdout}, {"stderr", stderr, tt.stderr}} {
				if !regexp.MustCompile(`^` + out.want + `$`).MatchString(out.got) {
					t.Errorf("%s: got %q, want all of it to match %q", out.name, out.got, out.want)
				}
				if strings.Contains(out.got, sesame) {
					t.Errorf("%s tells a password: %q", out.name, out.got)
				}
			}
		})
	}
}

// A database that takes the connection and says nothing: a firewall, a machine that hangs.
func TestSilentDatabaseIsGivenUp(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	url := "postgres://guild:" + sesame + "@" + silent.Addr().String() + "/guild?sslmode=disable"
	began := time.Now()
	_, stderr, code := command(t, nil, "serve", "-state", stateDir(t), "-addr", "127.0.0.1:0", "-database-url", url)
	if took := time.Since(began); code != 1 || !isOneLine(stderr) || strings.Contains(stderr, sesame) || took > recovery {
		t.Errorf("got exit %d and %q after %v, want 1 and a line without a password within %v", code, stderr, took, recovery)
	}
}

func TestMigrateOnThePrivatePostgres(t *testing.T) {
	t.Parallel()
	state := stateDir(t)
	for _, step := range []struct {
		args []string
		want string
	}{
		{[]string{"migrate", "-state", state, "status"}, `^(pending +\d{5}_\w+\.sql\n)+$`},
		{[]string{"migrate", "-state", state, "up"}, `^(applied +\d{5}_\w+\.sql\n)+$`},
		{[]string{"migrate", "-state", state}, `^(applied +\d{5}_\w+\.sql\n)+$`},
	} {
		stdout, stderr, code := command(t, nil, step.args...)
		if code != 0 || !regexp.MustCompile(step.want).MatchString(stdout) {
			t.Errorf("%v: got exit %d, %q and %q, want 0 and %s", step.args, code, stdout, stderr, step.want)
		}
	}
	if !lockFree(t, state) {
		t.Error("got a Postgres that lives on, want it stopped with the command")
	}
}

func TestEnvironmentTwinsOfServe(t *testing.T) {
	t.Parallel()
	state := stateDir(t)
	n := startWith(t, state, []string{
		envPrefix + "ADDR=127.0.0.1:0", envPrefix + "STATE=" + state, envPrefix + "BASE_PATH=/chat/",
		envPrefix + "DATABASE_URL=" + dbtest.New(t), "DATABASE_URL=postgres://nobody@127.0.0.1:1/none",
	}, "-log-level", "debug")
	if status, err := call(t.Context(), http.MethodGet, n.base()+"/api/me", n.token("alice"), nil, nil); err != nil || status != http.StatusOK {
		t.Errorf("got %d and %v, want 200: the key is in the state directory", status, err)
	}
	var me struct{ GuildIDs []string }
	stdout, _, _ := command(t, []string{envPrefix + "GUILD=g1"}, "token", "-state", state, "-guild", "g2", "alice")
	if _, err := call(t.Context(), http.MethodGet, n.base()+"/api/me", strings.TrimSpace(stdout), nil, &me); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"g2"}, me.GuildIDs); diff != "" {
		t.Errorf("guilds of a token, where the flag wins over its twin (-want +got):\n%s", diff)
	}
	if !strings.HasSuffix(n.base(), "/chat") {
		t.Errorf("got %s, want an address with the prefix", n.base())
	}
	if _, err := os.Stat(filepath.Join(state, "postgres")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for a private cluster, want none beside a database URL", err)
	}
	n.stop()
}

func TestRotatedKeyEndsTokens(t *testing.T) {
	t.Parallel()
	state := stateDir(t)
	n := start(t, state, "-database-url", dbtest.New(t))
	me := func(token string) int {
		status, err := call(t.Context(), http.MethodGet, n.base()+"/api/me", token, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	old := n.token("alice")
	if got := me(old); got != http.StatusOK {
		t.Fatalf("got %d for a fresh token, want 200", got)
	}
	stdout, stderr, code := command(t, nil, "token", "-state", state, "-rotate")
	if code != 0 || stdout != "" || stderr != "" {
		t.Errorf("got exit %d, %q and %q, want 0 and nothing to read", code, stdout, stderr)
	}
	young := n.token("alice")
	eventually(t, "the old token is refused", patience, func() bool { return me(old) == http.StatusUnauthorized })
	if got := me(young); got != http.StatusOK {
		t.Errorf("got %d for a token of the new key, want 200", got)
	}
}

// Every server of these tests logs at the debug level, and the end of each looks for tokens and contents.
// This one sends what a careless error message would repeat.
func TestNothingSecretIsLogged(t *testing.T) {
	t.Parallel()
	n := start(t, stateDir(t), "-database-url", dbtest.New(t))
	l := newLoad(t, n)
	alice, messages := n.token("alice"), n.base()+"/api/channels/"+l.channels[0]+"/messages"
	for _, tt := range []struct {
		method, url, token string
		body               any
		want               int
	}{
		{http.MethodPost, messages, alice, json.RawMessage(`{"content":"` + sesame + `",}`), http.StatusBadRequest},
		{http.MethodPost, messages, alice, map[string]any{"content": sesame + "\x00"}, http.StatusUnprocessableEntity},
		{http.MethodPost, messages, alice, map[string]any{"content": sesame, "replyTo": sesame}, http.StatusUnprocessableEntity},
		{http.MethodPost, messages, alice, map[string]any{sesame: sesame}, http.StatusBadRequest},
		{http.MethodPost, messages, alice, map[string]any{"content": sesame}, http.StatusCreated},
		{http.MethodGet, n.base() + "/api/me", sesame, nil, http.StatusUnauthorized},
		{http.MethodGet, n.base() + "/api/me?access_token=" + alice, "", nil, http.StatusBadRequest},
		{http.MethodGet, n.base() + "/api/stream?token=" + alice, alice, nil, http.StatusBadRequest},
		{http.MethodGet, n.base() + "/api/stream?lastEventId=" + sesame, alice, nil, http.StatusBadRequest},
	} {
		if got, err := call(t.Context(), tt.method, tt.url, tt.token, tt.body, nil); err != nil || got != tt.want {
			t.Errorf("%s %s %v: got %d and %v, want %d", tt.method, tt.url, tt.body, got, err, tt.want)
		}
	}
	if !strings.Contains(n.stderr.String(), "path=/api/me") {
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
		"absolute": {program, stateDir(t)},
		"relative": {"./fabric-guild", "state"},
		"awkward":  {"./a program", "it's a state"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := stateDir(t)
			if !filepath.IsAbs(dirs[0]) {
				if err := os.Symlink(program, filepath.Join(dir, dirs[0])); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command(dirs[0], "-state", dirs[1], "-addr", "127.0.0.1:0", "-database-url", database)
			cmd.Dir = dir
			tryStartUpCommands(t, launch(t, dirs[1], cmd))
		})
	}
}

func tryStartUpCommands(t *testing.T, n *node) {
	t.Helper()
	printed := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^  a (\w+): +((?:.*\\\n)*.*)$`).FindAllStringSubmatch(n.stderr.String(), -1) {
		printed[m[1]] = m[2]
	}
	shell := func(what, channel string) (out *text, ended <-chan error) {
		command, done := strings.ReplaceAll(printed[what], "CHANNEL_ID", channel), make(chan error, 1)
		cmd, out := exec.CommandContext(t.Context(), "sh", "-c", printed["token"]+"\n"+command), &text{}
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/", environment(nil), out, out
		go func() { done <- cmd.Run() }()
		return out, done
	}
	run := func(what, channel, want string) string {
		out, ended := shell(what, channel)
		err := <-ended
		m := regexp.MustCompile(want).FindStringSubmatch(out.String())
		if err != nil || m == nil {
			t.Fatalf("%s\n%s: got %v and %q, want %s", printed["token"], printed[what], err, out, want)
		}
		return m[1]
	}
	stream, ended := shell("stream", "")
	eventually(t, "a stream, or why there is none", patience, func() bool {
		return strings.Contains(stream.String(), "event: stream.ready\n") || len(ended) > 0
	})
	channel := run("channel", "", `"id":"([0-9a-f-]{36})"`)
	run("message", channel, `"wakeups":\[\{"userId":"(bob)"`)
	eventually(t, "the stream tells of the channel", patience, func() bool {
		return strings.Contains(stream.String(), "event: channel.joined\n")
	})
	n.stop()
	if err := <-ended; err != nil || !strings.Contains(stream.String(), "event: stream.closing\n") {
		t.Errorf("got %v and %q, want a stream that was closed in order", err, stream)
	}
}

// Imports go one way. What a package may not know it cannot come to depend on.
func TestImports(t *testing.T) {
	t.Parallel()
	const module = "fabric-guild"
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
		{"/events", module + "/handlers", "the reading side knows no routes: handlers stand on it", false},
		{"/events", module + "/db", "the log is an interface there, so that sessions are tested without a database", false},
		{"/events", "github.com/jackc", "SQL is for db alone", false},
		{"/events", "database/sql!", "SQL is for db alone", false},
		{"/db", module + "/handlers", "the log must not know who asks", false},
		{"/db", "net/http", "status codes are decided in handlers", true},
		{"/db/pgrun", module + "/db", "a Postgres is run without a schema; dbtest and main put the two together", false},
		{"/db/pgrun", module + "/events", "a Postgres is run without a schema", false},
		{"/migrations", module, "they are data", false},
		{"/handlers", "github.com/jackc", "the driver's errors become ours in db only", true},
		{"/handlers", "database/sql", "every query is a method of db", true},
		{"/handlers", module + "/db/pgrun", "where Postgres comes from is main's to know", false},
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
		{"*", module + "/db/dbtest", "as a helper of tests", false},
		{"*", module + "/handlers/center/centertest", "as a helper of tests", false},
		{"*", module + "!", "main is the end of the line", false},
	} {
		for _, name := range slices.Sorted(maps.Keys(packages)) {
			if ban.of == "*" && strings.HasSuffix(name, "test") || ban.of != "*" && name != module+ban.of {
				continue
			}
			found := packages[name].all
			if ban.direct {
				found = packages[name].direct
			}
			for _, path := range found {
				if path == strings.TrimSuffix(ban.what, "!") || strings.HasPrefix(path, ban.what+"/") {
					t.Errorf("%s imports %s, which it may not: %s", name, path, ban.why)
				}
			}
		}
		if _, ok := packages[module+ban.of]; !ok && ban.of != "*" {
			t.Errorf("got no package %s%s, want the one that a rule is about", module, ban.of)
		}
	}
}

// A node is the program at work.
type node struct {
	t       *testing.T
	cmd     *exec.Cmd
	state   string
	stderr  *text
	ended   chan struct{}
	secrets []string // tokens that it was given
}

// start runs a server and waits until it is ready. It is stopped at the end of the test.
func start(t *testing.T, state string, args ...string) *node {
	t.Helper()
	if !slices.Contains(args, "-addr") {
		args = append(args, "-addr", "127.0.0.1:0")
	}
	return startWith(t, state, nil, append(args, "-state", state, "-log-level", "debug")...)
}

func startWith(t *testing.T, state string, env []string, args ...string) *node {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = environment(env)
	return launch(t, state, cmd)
}

func launch(t *testing.T, state string, cmd *exec.Cmd) *node {
	t.Helper()
	n := &node{t: t, cmd: cmd, state: state, stderr: &text{}, ended: make(chan struct{})}
	if cmd.Stderr = n.stderr; cmd.Env == nil {
		cmd.Env = environment(nil)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(n.ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-n.ended:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-n.ended
			t.Error("got a server that ignores SIGTERM, want it stopped")
		}
		log := n.stderr.String()
		for _, secret := range append(n.secrets, sesame) {
			if strings.Contains(log, secret) {
				t.Errorf("got %q in the log, want neither tokens nor contents", secret)
			}
		}
		if t.Failed() {
			t.Logf("the server's own words, the last of them:\n%s", log[max(0, len(log)-4000):])
		}
	})
	eventually(t, "the server is ready", patience, func() bool { return n.base() != "" || n.exited() })
	if n.exited() {
		t.Fatalf("got an exit at the start: %s", n.stderr)
	}
	return n
}

var ready = regexp.MustCompile(`fabric-guild is ready on (http://([^/\s]+)\S*)\n`)

// base is the server's URL, empty as long as it is not ready.
func (n *node) base() string {
	if m := ready.FindStringSubmatch(n.stderr.String()); m != nil {
		return m[1]
	}
	return ""
}

func (n *node) addr() string { return ready.FindStringSubmatch(n.stderr.String())[2] }

func (n *node) signal(s syscall.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) awaitReady() {
	n.t.Helper()
	eventually(n.t, "the server is ready", recovery, func() bool {
		status, err := call(n.t.Context(), http.MethodGet, n.base()+"/readyz", "", nil, nil)
		return err == nil && status == http.StatusOK
	})
}

func (n *node) exited() bool {
	select {
	case <-n.ended:
		return true
	default:
		return false
	}
}

// awaitExit waits for the exit code, -1 for an end by a signal.
func (n *node) awaitExit(want int) {
	n.t.Helper()
	eventually(n.t, "the server ends", patience, n.exited)
	if got := n.cmd.ProcessState.ExitCode(); got != want {
		n.t.Errorf("got exit %d, want %d", got, want)
	}
}

func (n *node) stop() {
	n.t.Helper()
	n.signal(syscall.SIGTERM)
	n.awaitExit(0)
}

// postmaster is the process of the private Postgres.
func (n *node) postmaster() int {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.state, "postgres", "data", "postmaster.pid"))
	if err != nil {
		n.t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		n.t.Fatal(err)
	}
	return pid
}

func (n *node) token(user string) string {
	n.t.Helper()
	stdout, stderr, code := command(n.t, nil, "token", "-state", n.state, user)
	if code != 0 {
		n.t.Fatalf("got exit %d and %q for a token", code, stderr)
	}
	token := strings.TrimSuffix(stdout, "\n")
	n.secrets = append(n.secrets, token)
	return token
}

// command runs the program to its end.
func command(t *testing.T, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var out, errs text
	cmd.Env, cmd.Stdout, cmd.Stderr = environment(env), &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// environment is ours without what would configure the program.
func environment(env []string) []string {
	return append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, envPrefix) || strings.HasPrefix(v, "DATABASE_URL=")
	}), env...)
}

// stateDir is a directory, its name with a space, that the user who runs Postgres in root's place can enter:
// t.TempDir is closed to them. It is removed when no Postgres is left in it.
func stateDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fabric guild ")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		eventually(t, "Postgres leaves "+dir, patience, func() bool { return lockFree(t, dir) })
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// lockFree reports whether no process of a Postgres is left in a state directory: each holds this lock.
func lockFree(t *testing.T, state string) bool {
	t.Helper()
	f, err := os.Open(filepath.Join(state, "postgres-server.lock"))
	if errors.Is(err, os.ErrNotExist) {
		return true
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

// A text collects what a process writes.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(p)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

func isOneLine(s string) bool { return strings.Count(s, "\n") == 1 && strings.HasSuffix(s, "\n") }

func eventually(t *testing.T, what string, within time.Duration, condition func() bool) {
	t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %v in vain: %s", within, what)
		}
	}
}

// The default keeps two idle connections, and dials more than it uses: a server that stops waits for those.
var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// call sends a request and decodes its answer into out.
func call(ctx context.Context, method, url, token string, body, out any) (status int, err error) {
	var b []byte
	if raw, ok := body.(json.RawMessage); ok {
		b = raw
	} else if body != nil {
		if b, err = json.Marshal(body); err != nil {
			return 0, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(b))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	if b, err = io.ReadAll(answer.Body); err == nil && out != nil && answer.StatusCode < 300 {
		err = json.Unmarshal(b, out)
	}
	return answer.StatusCode, err
}

// A load is channels, writers that post into them, readers that listen, and what became of it.
type load struct {
	t        *testing.T
	channels []string
	alice    string // her token
	tokens   func(user string) string
	stop     chan struct{}
	writers  sync.WaitGroup

	mu      sync.Mutex
	posted  map[string]string // content by cursor, as acknowledged
	counts  counts
	wrong   int // a status that no post should get
	readers []*reader
}

type counts struct {
	writers, acknowledged int
	refused               int // with 503: whether it happened is not known
	failed                int // without an answer
}

// newLoad makes six channels of alice, who writes, and others, who listen.
func newLoad(t *testing.T, n *node) *load {
	t.Helper()
	l := &load{t: t, alice: n.token("alice"), tokens: n.token, stop: make(chan struct{}), posted: map[string]string{}}
	for i := range 6 {
		var made struct{ Channel struct{ ID string } }
		status, err := call(t.Context(), http.MethodPost, n.base()+"/api/channels", l.alice, map[string]any{
			"guildId": "g1", "name": fmt.Sprintf("channel %d", i), "xType": "general",
			"memberUserIds": []string{"bob", "carol", "dave", "erin"},
		}, &made)
		if err != nil || status != http.StatusCreated {
			t.Fatalf("got %d and %v for a channel, want 201", status, err)
		}
		l.channels = append(l.channels, made.Channel.ID)
	}
	return l
}

// post sends a message and notes what is known of it.
func (l *load) post(base, channel, content string) (int, error) {
	var answer struct {
		Cursor  string
		Message struct{ Content string }
	}
	content = sesame + " " + content
	status, err := call(l.t.Context(), http.MethodPost, base+"/api/channels/"+channel+"/messages", l.alice, map[string]any{"content": content}, &answer)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.counts.failed++
	case status == http.StatusServiceUnavailable:
		l.counts.refused++
	case status == http.StatusCreated:
		l.counts.acknowledged++
		l.posted[answer.Cursor] = content
	default:
		l.wrong = status
	}
	return status, err
}

// postSlowly begins a post whose body is not there yet; finish sends it and wants it stored.
func (l *load) postSlowly(n *node, channel, content string) (finish func()) {
	l.t.Helper()
	conn, err := net.Dial("tcp", n.addr())
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	content = sesame + " " + content
	body := fmt.Sprintf(`{"content":%q}`, content)
	_, _ = fmt.Fprintf(conn, "POST /api/channels/%s/messages HTTP/1.1\r\nHost: guild\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", channel, l.alice, len(body))
	answers := bufio.NewReader(conn)
	if r, err := http.ReadResponse(answers, nil); err != nil || r.StatusCode != http.StatusContinue { // the handler waits for the body now
		l.t.Fatalf("got %v and %v, want 100", r, err)
	}
	return func() {
		l.t.Helper()
		_, _ = io.WriteString(conn, body)
		var answer struct{ Cursor string }
		r, err := http.ReadResponse(answers, nil)
		if err == nil {
			err = json.NewDecoder(r.Body).Decode(&answer)
		}
		if err != nil || r.StatusCode != http.StatusCreated {
			l.t.Fatalf("got %v and %v, want the request in flight finished with 201", r, err)
		}
		l.posted[answer.Cursor] = content
	}
}

// holdOpen stores a message in a transaction that stays open until commit is called.
func (l *load) holdOpen(url, content string) (commit func()) {
	l.t.Helper()
	ctx := l.t.Context()
	const post = `
		WITH e AS (
			INSERT INTO events (kind, channel_id, user_id, message_id)
			VALUES ('message.created', $1, 'alice', gen_random_uuid())
			RETURNING seq, occurred_at, message_id
		)
		INSERT INTO messages (id, channel_id, seq, author_user_id, content, mention_user_ids, created_at)
		SELECT message_id, $1, seq, 'alice', $2, '{}', occurred_at FROM e
		RETURNING (SELECT max(epoch) FROM epochs) || '.' || seq`
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	tx, err := conn.Begin(ctx)
	if err != nil {
		l.t.Fatal(err)
	}
	var cursor string
	content = sesame + " " + content
	if err := tx.QueryRow(ctx, post, l.channels[0], content).Scan(&cursor); err != nil {
		l.t.Fatal(err)
	}
	return func() {
		l.t.Helper()
		if err := tx.Commit(ctx); err != nil {
			l.t.Fatal(err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.posted[cursor] = content
	}
}

// write starts writers that post, each content once, until the load is finished.
func (l *load) write(writers int, base func() string) {
	for range writers {
		l.mu.Lock()
		l.counts.writers++
		w := l.counts.writers
		l.mu.Unlock()
		l.writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-l.stop:
					return
				case <-l.t.Context().Done():
					return
				case <-time.After(2 * time.Millisecond): // leaves the machine to the readers, too
				}
				_, _ = l.post(base(), l.channels[(i+w)%len(l.channels)], fmt.Sprintf("%d of %d", i, w))
			}
		})
	}
}

func (l *load) count() counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

func (l *load) awaitMore(posts int, within time.Duration) {
	l.t.Helper()
	until := l.count().acknowledged + posts
	eventually(l.t, fmt.Sprintf("%d posts more", posts), within, func() bool { return l.count().acknowledged >= until })
}

// finish stops the writers and waits until every reader has seen the last acknowledged message.
func (l *load) finish() {
	l.t.Helper()
	close(l.stop)
	l.writers.Wait()
	last := slices.MaxFunc(slices.Collect(maps.Keys(l.posted)), func(a, b string) int { return seq(a) - seq(b) })
	for _, r := range l.readers {
		r.await("message "+last, func() bool { return seq(r.cursor) >= seq(last) })
	}
	if l.t.Logf("%+v", l.count()); l.wrong != 0 {
		l.t.Errorf("got %d for a post, want 201, or 503 while there is no database", l.wrong)
	}
}

// How cursors are compared: as they are, or over restarts of Postgres, where each starts an epoch.
func whole(cursor string) string  { return cursor }
func number(cursor string) string { return strconv.Itoa(seq(cursor)) }

func seq(cursor string) int {
	_, n, _ := strings.Cut(cursor, ".")
	i, _ := strconv.Atoi(n)
	return i
}

// verify compares what a reader got with what was acknowledged: everything, once, in order.
func (l *load) verify(r *reader, key func(cursor string) string) {
	l.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, fault := range r.faults {
		l.t.Errorf("%s: %s", r.user, fault)
	}
	got, times, last := map[string]string{}, map[string]int{}, 0
	for _, f := range r.frames {
		if f.Event != "message.created" {
			continue
		}
		var m struct{ Content string }
		if err := json.Unmarshal([]byte(f.Data), &m); err != nil {
			l.t.Errorf("%s: %v in %q", r.user, err, f.Data)
		}
		if seq(f.ID) <= last {
			l.t.Errorf("%s: got %s after number %d, want the log's order", r.user, f.ID, last)
		}
		if times[m.Content]++; times[m.Content] == 2 {
			l.t.Errorf("%s: got %q twice", r.user, m.Content)
		}
		last, got[key(f.ID)] = seq(f.ID), m.Content
	}
	lost := 0
	for cursor, content := range l.posted {
		if got[key(cursor)] == content {
			continue
		}
		if lost++; lost <= 3 {
			l.t.Errorf("%s: got %q as %s, want %q, which was acknowledged", r.user, got[key(cursor)], cursor, content)
		}
	}
	if lost > 3 {
		l.t.Errorf("%s: and %d more", r.user, lost-3)
	}
	// Whether a post happened is not known when it was not answered, or by a 503.
	if unknown := l.counts.refused + l.counts.failed; len(got) > len(l.posted)+unknown {
		l.t.Errorf("%s: got %d messages, want %d, and at most %d that were not acknowledged", r.user, len(got), len(l.posted), unknown)
	}
}

// A reader is a client that keeps its cursor and comes back whenever its stream ends.
type reader struct {
	t     *testing.T
	user  string
	token string
	base  func() string        // where to connect next
	life  func() time.Duration // of a connection; nil: until the other side ends it

	mu     sync.Mutex
	cursor string
	frames []frame
	ends   int   // of streams
	end    error // how the last one ended
	faults []string
}

type frame struct{ Event, ID, Data string }

// listen starts a reader and waits for its stream.
func (l *load) listen(user string, base func() string, options ...func(*reader)) *reader {
	l.t.Helper()
	r := &reader{t: l.t, user: user, token: l.tokens(user), base: base}
	for _, o := range options {
		o(r)
	}
	var done sync.WaitGroup
	l.t.Cleanup(done.Wait)
	ctx := l.t.Context()
	done.Go(func() {
		for ctx.Err() == nil {
			r.connect(ctx)
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	l.readers = append(l.readers, r)
	r.await("a stream", func() bool { return r.cursor != "" })
	return r
}

// connect follows one stream to its end.
func (r *reader) connect(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if r.life != nil {
		defer time.AfterFunc(r.life(), cancel).Stop()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base()+"/api/stream", nil)
	if err != nil {
		return // between two servers
	}
	request.Header.Set("Authorization", "Bearer "+r.token)
	r.mu.Lock()
	resume := r.cursor
	r.mu.Unlock()
	if resume != "" {
		request.Header.Set("Last-Event-ID", resume)
	}
	answer, err := client.Do(request)
	if err != nil {
		return
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		if answer.StatusCode != http.StatusServiceUnavailable {
			r.fault("got %d for a stream, want 200, or 503 while there is no database", answer.StatusCode)
		}
		return
	}
	var f frame
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "event":
			f.Event = value
		case "data":
			f.Data = value
		case "id":
			f.ID = value
		case "":
			if lines.Text() == "" && f != (frame{}) {
				r.take(f, resume)
				f = frame{}
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends++
	r.end = lines.Err()
}

func (r *reader) take(f frame, resume string) {
	if f.Event == "stream.reset" || f.Event == "stream.ready" && resume != "" && !strings.Contains(f.Data, `"resumed":true`) {
		r.fault("got %s %s, want to resume at %s", f.Event, f.Data, resume)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frames = append(r.frames, f)
	if f.ID != "" {
		r.cursor = f.ID
	}
}

func (r *reader) fault(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

// await waits for a condition on what the reader has; it holds the reader still.
func (r *reader) await(what string, condition func() bool) {
	r.t.Helper()
	eventually(r.t, r.user+" waits for "+what, recovery, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return condition()
	})
}

// awaitClosing waits for the end of a stream that the server drains.
func (r *reader) awaitClosing() {
	r.t.Helper()
	r.await("the stream's end", func() bool { return r.ends > 0 })
	r.mu.Lock()
	defer r.mu.Unlock()
	want := frame{Event: "stream.closing", Data: `{"reason":"drain","reconnect":true}`}
	if diff := cmp.Diff(want, r.frames[len(r.frames)-1]); diff != "" {
		r.t.Errorf("%s: the last frame of the stream (-want +got):\n%s", r.user, diff)
	}
	if r.end != nil {
		r.t.Errorf("%s: got %v after it, want the end of the body", r.user, r.end)
	}
}

// heard reports whether a message with such a content has come; within await.
func (r *reader) heard(content string) bool {
	return slices.ContainsFunc(r.frames, func(f frame) bool {
		return f.Event == "message.created" && strings.Contains(f.Data, content)
	})
}

// messages are what everyone hears alike: a snapshot or an event tells of a channel, as a stream begins.
func (r *reader) messages() []frame {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.frames), func(f frame) bool { return f.Event != "message.created" })
}
