package tail_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/guildtest"
)

// When tail ends, the exit code and one line on stderr say why. The line never contains a token.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	g := newGuild(t)
	dir := t.TempDir()
	const secret = "a-secret-of-the-test"
	writeFile(t, "no cursor", dir, "no-cursor")
	writeFile(t, g.bob+"\n", dir, "bobs-token")
	writeFile(t, secret+"\x1b[2J", dir, "no-token")
	answer := func(status int) []string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(`{"code":"of_the_test","detail":"go\u001b[2J away"}`))
		}))
		t.Cleanup(s.Close)
		return []string{"-url", s.URL}
	}
	token := config.EnvPrefix + "TOKEN=" + secret
	none := config.EnvPrefix + "TOKEN="
	for name, tt := range map[string]struct {
		env, args []string
		code      int
		stderr    string // a regular expression for the whole output
	}{
		"unknown flag": {nil, []string{"-frobnicate"}, 2, `(.|\n)*-frobnicate(.|\n)*`},
		"an argument":  {nil, []string{"bob"}, 2, `.*"bob".*\n`},
		"no token":     {[]string{none}, nil, 2, `.*FABRIC_BACKEND_GUILD_TOKEN.*-token-file.*\n`},
		"no URL":       {nil, []string{"-url", "chat.example"}, 2, `.*-url.*\n`},
		"a URL with a user": {
			nil,
			[]string{"-url", "http://bob:" + secret + "@chat.example"},
			2,
			`.*-url.*\n`,
		},
		"an invalid cursor": {nil, []string{"-cursor", "latest"}, 2, `.*-cursor.*\n`},
		"an unknown kind": {
			nil,
			[]string{"-types", "message.craeted"},
			2,
			`.*400.*types.*message\.created.*\n`,
		},
		"no such channel": {nil, []string{"-channels", "ops"}, 2, `.*400.*channels.*\n`},
		"wrong token": {
			[]string{token},
			nil, 3,
			`fabric-guild: the server does not accept the token, token_invalid: .*\n`,
		},
		"wrong token as flag":  {nil, []string{"-token", secret}, 3, `.*token_invalid.*\n`},
		"a token of two words": {[]string{"FABRIC_BACKEND_GUILD_TOKEN=two words"}, nil, 1, `.*the token.*\n`},
		"no token in the file": {nil, []string{"-token-file", "no-token"}, 1, `.*no-token.*\n`},
		"no token file":        {nil, []string{"-token-file", "missing"}, 1, `.*missing.*no such file.*\n`},
		"token file wins": {
			[]string{token},
			[]string{"-token-file", "bobs-token", "-types", "x"},
			2, `.*400.*\n`,
		},
		"forbidden": {[]string{token}, answer(403), 4, `.*403.*of_the_test: go\\x1b\[2J away\n`},
		"not found": {[]string{token}, answer(404), 1, `.*404.*\n`},
		"wrong path": {
			[]string{token},
			[]string{"-url", g.Base() + "/nowhere"},
			1,
			`.*404.*not_found.*\n`,
		},
		"no cursor in a file": {nil, []string{"-cursor-file", "no-cursor"}, 1, `.*no-cursor.*remove it.*\n`},
		"no parent directory": {
			nil,
			[]string{"-cursor-file", "none/cursor"},
			1,
			`.*none/cursor.*no such.*\n`,
		},
		"a directory": {nil, []string{"-cursor-file", "."}, 1, `.*not a regular file.*\n`},
		"a device": {
			nil,
			[]string{"-cursor-file", "/dev/null"},
			1,
			`.*/dev/null is not a regular file.*\n`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := g.tail(t, dir, tt.env, tt.args...)
			p.WantExit(tt.code)
			if got := p.Out.String(); got != "" {
				t.Errorf("got %q on stdout, want nothing", got)
			}
			if got := p.Err.String(); !regexp.MustCompile(`^` + tt.stderr + `$`).MatchString(got) {
				t.Errorf("got %q on stderr, want it to match %q", got, tt.stderr)
			}
			for _, harm := range []string{secret, "\x1b"} {
				if strings.Contains(p.Err.String(), harm) {
					t.Errorf("got %q in %q on stderr, want it nowhere", harm, p.Err)
				}
			}
		})
	}
}

// When its token ends, tail ends and says so. If the token file is renewed in time, tail continues.
func TestEndedToken(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	g := newGuild(t)
	dir := t.TempDir()
	short, stderr, code := program.Run(t, nil, "token", "-state", g.state, "-ttl", "8s", "bob")
	if code != 0 {
		t.Fatalf("got exit %d: %s", code, stderr)
	}
	writeFile(t, short, dir, "token")
	ends := g.tail(t, dir, []string{config.EnvPrefix + "TOKEN=" + short})
	continues := g.tail(t, dir, nil, "-token-file", "token")
	ends.Await("following")
	continues.Await("following")
	writeFile(t, g.bob, dir, "token")
	ends.WantExit(3)
	want := "the server does not accept the token, token_expired\n"
	if got := ends.Err.String(); !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want it to end with %q", got, want)
	}
	g.post(t, "with the new token")
	continues.AwaitLines(2)
	continues.Stop()
	got := names(objects(t, continues.Out.String()))
	if len(got) != 2 || got[1] != "message.created with the new token" {
		t.Errorf("got %q, want the message after the renewal", got)
	}
}

// When its reader is gone, tail ends without an error. An event that the reader did not get is not handled.
func TestReaderGoes(t *testing.T) {
	t.Parallel()
	g := newGuild(t)
	dir := t.TempDir()
	before := g.post(t, "before")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := g.tailInto(t, dir, write, "-cursor", before, "-cursor-file", "cursor")
	p.Await("following")
	one := g.post(t, "one")
	b := make([]byte, 64<<10)
	if _, err := read.Read(b); err != nil {
		t.Fatal(err)
	}
	_ = read.Close() // tail must end although no further event comes
	p.WantExit(0)
	if got := p.Err.String(); strings.Count(got, "\n") != 1 {
		t.Errorf("got %q on stderr, want only the line that tail follows", got)
	}
	if got := readFile(t, dir, "cursor"); got != one {
		t.Errorf("got the cursor %s, want the cursor of the last event that was read, %s", got, one)
	}
}

// If the reader is gone before the first event, tail handles no event. Here a failed write may be the first
// sign that the reader is gone.
func TestReaderWasNeverThere(t *testing.T) {
	t.Parallel()
	g := newGuild(t)
	dir := t.TempDir()
	before := g.post(t, "before")
	g.post(t, "one")
	for range 10 {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_ = read.Close()
		p := g.tailInto(t, dir, write, "-cursor", before, "-cursor-file", "cursor")
		p.WantExit(0)
		if got := readFile(t, dir, "cursor"); got != "" && got != before {
			t.Errorf("got the cursor %s, want no cursor after %s", got, before)
		}
	}
}

// A reader that reads nothing does not keep tail from ending.
func TestReaderStalls(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	g := newGuild(t)
	dir := t.TempDir()
	before := g.post(t, "before")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = read.Close() }()
	for i := range 12 {
		g.post(t, strconv.Itoa(i)+strings.Repeat("x", 16000)) // in all more than a pipe holds
	}
	p := g.tailInto(t, dir, write, "-cursor", before, "-cursor-file", "cursor")
	guildtest.Eventually(t, "some events are written", guildtest.Patience, func() bool {
		if !exists(dir, "cursor") {
			return false
		}
		cursor := readFile(t, dir, "cursor")
		return cursor != "" && seq(t, cursor) >= seq(t, before)+3
	})
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
	got := &strings.Builder{}
	b := make([]byte, 1<<20)
	for {
		n, err := read.Read(b)
		got.Write(b[:n])
		if err != nil {
			break
		}
	}
	all := objects(t, got.String())
	if cursor := readFile(t, dir, "cursor"); len(all) == 0 || all[len(all)-1].ID != cursor {
		t.Errorf("got %d events and the cursor %s, want the cursor of the last event", len(all), cursor)
	}
}
