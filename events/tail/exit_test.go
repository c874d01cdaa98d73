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

	"fabric-guild/handlers/config"
	"fabric-guild/handlers/guildtest"
)

// Each end says why: by its code, and in one line that tells no token.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	g, dir := newGuild(t), t.TempDir()
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
	token, none := config.EnvPrefix+"TOKEN="+secret, config.EnvPrefix+"TOKEN="
	for name, tt := range map[string]struct {
		env, args []string
		code      int
		stderr    string // an expression for all of it
	}{
		"help":                 {nil, []string{"-h"}, 0, `fabric-guild tail follows (.|\n)*-exec(.|\n)*`},
		"unknown flag":         {nil, []string{"-frobnicate"}, 2, `(.|\n)*-frobnicate(.|\n)*`},
		"an argument":          {nil, []string{"bob"}, 2, `.*"bob".*\n`},
		"no token":             {[]string{none}, nil, 2, `.*FABRIC_BACKEND_GUILD_TOKEN.*-token-file.*\n`},
		"no URL":               {nil, []string{"-url", "chat.example"}, 2, `.*-url.*\n`},
		"a URL with a user":    {nil, []string{"-url", "http://bob:" + secret + "@chat.example"}, 2, `.*-url.*\n`},
		"a cursor that is not": {nil, []string{"-cursor", "latest"}, 2, `.*-cursor.*\n`},
		"an unknown kind":      {nil, []string{"-types", "message.craeted"}, 2, `.*400.*types.*message\.created.*\n`},
		"no such channel":      {nil, []string{"-channels", "ops"}, 2, `.*400.*channels.*\n`},
		"wrong token":          {[]string{token}, nil, 3, `fabric-guild: the server does not accept the token, token_invalid: .*\n`},
		"wrong token as flag":  {nil, []string{"-token", secret}, 3, `.*token_invalid.*\n`},
		"no word":              {[]string{"FABRIC_BACKEND_GUILD_TOKEN=two words"}, nil, 1, `.*the token.*\n`},
		"no word in the file":  {nil, []string{"-token-file", "no-token"}, 1, `.*no-token.*\n`},
		"no file of a token":   {nil, []string{"-token-file", "missing"}, 1, `.*missing.*no such file.*\n`},
		"the file wins":        {[]string{token}, []string{"-token-file", "bobs-token", "-types", "x"}, 2, `.*400.*\n`},
		"forbidden":            {[]string{token}, answer(403), 4, `.*403.*of_the_test: go\\x1b\[2J away\n`},
		"unknown":              {[]string{token}, answer(404), 1, `.*404.*\n`},
		"not ours":             {[]string{token}, []string{"-url", g.Base() + "/nowhere"}, 1, `.*404.*not_found.*\n`},
		"no cursor in a file":  {nil, []string{"-cursor-file", "no-cursor"}, 1, `.*no-cursor.*remove it.*\n`},
		"no place for a file":  {nil, []string{"-cursor-file", "none/cursor"}, 1, `.*none/cursor.*no such.*\n`},
		"a directory":          {nil, []string{"-cursor-file", "."}, 1, `.*not a regular file.*\n`},
		"a device":             {nil, []string{"-cursor-file", "/dev/null"}, 1, `.*/dev/null is not a regular file.*\n`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := g.tail(t, dir, tt.env, tt.args...)
			p.wantExit(tt.code)
			if got := p.out.String(); got != "" {
				t.Errorf("got %q on stdout, want nothing", got)
			}
			if got := p.err.String(); !regexp.MustCompile(`^` + tt.stderr + `$`).MatchString(got) {
				t.Errorf("got %q, want all of it to match %q", got, tt.stderr)
			}
			for _, harm := range []string{secret, "\x1b"} {
				if strings.Contains(p.err.String(), harm) {
					t.Errorf("got %q in %q, want it nowhere", harm, p.err)
				}
			}
		})
	}
}

// A token that ends, ends tail, which says so; one that is renewed in time goes on.
func TestEndedToken(t *testing.T) {
	t.Parallel()
	g, dir := newGuild(t), t.TempDir()
	short, stderr, code := program.Run(t, nil, "token", "-state", g.state, "-ttl", "8s", "bob")
	if code != 0 {
		t.Fatalf("got exit %d: %s", code, stderr)
	}
	writeFile(t, short, dir, "token")
	ends := g.tail(t, dir, []string{config.EnvPrefix + "TOKEN=" + short})
	goesOn := g.tail(t, dir, nil, "-token-file", "token")
	ends.await("following")
	goesOn.await("following")
	writeFile(t, g.bob, dir, "token")
	ends.wantExit(3)
	if got, want := ends.err.String(), "the server does not accept the token, token_expired\n"; !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	g.post(t, "to the new one")
	goesOn.awaitLines(2)
	goesOn.stop()
	if got := names(objects(t, goesOn.out.String())); len(got) != 2 || got[1] != "message.created to the new one" {
		t.Errorf("got %q, want what came after the renewal", got)
	}
}

// A reader that has gone ends it quietly, and what it did not get is not counted as handled.
func TestReaderGoes(t *testing.T) {
	t.Parallel()
	g, dir := newGuild(t), t.TempDir()
	before := g.post(t, "before")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := g.tailInto(t, dir, write, "-cursor", before, "-cursor-file", "cursor")
	p.await("following")
	one := g.post(t, "one")
	b := make([]byte, 64<<10)
	if _, err := read.Read(b); err != nil {
		t.Fatal(err)
	}
	_ = read.Close() // also where no event comes after it
	p.wantExit(0)
	if got := p.err.String(); strings.Count(got, "\n") != 1 {
		t.Errorf("got %q, want no more than that it follows", got)
	}
	if got := readFile(t, dir, "cursor"); got != one {
		t.Errorf("got the cursor %s, want that of what was read, %s", got, one)
	}
}

// Nor is it when the reader was gone before the first event: a write may be what tells.
func TestReaderWasNeverThere(t *testing.T) {
	t.Parallel()
	g, dir := newGuild(t), t.TempDir()
	before := g.post(t, "before")
	g.post(t, "one")
	for range 10 {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_ = read.Close()
		p := g.tailInto(t, dir, write, "-cursor", before, "-cursor-file", "cursor")
		p.wantExit(0)
		if got := readFile(t, dir, "cursor"); got != "" && got != before {
			t.Errorf("got the cursor %s, want none beyond %s", got, before)
		}
	}
}

// A reader that takes nothing does not keep it from ending.
func TestReaderStalls(t *testing.T) {
	t.Parallel()
	g, dir := newGuild(t), t.TempDir()
	before := g.post(t, "before")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = read.Close() }()
	for i := range 12 {
		g.post(t, strconv.Itoa(i)+strings.Repeat("x", 16000)) // more than a pipe takes
	}
	p := g.tailInto(t, dir, write, "-cursor", before, "-cursor-file", "cursor")
	guildtest.Eventually(t, "some are written", guildtest.Patience, func() bool {
		return exists(dir, "cursor") && readFile(t, dir, "cursor") != "" && seq(t, readFile(t, dir, "cursor")) >= seq(t, before)+3
	})
	p.signal(syscall.SIGTERM)
	p.wantExit(0)
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
		t.Errorf("got %d events and the cursor %s, want the last one's", len(all), cursor)
	}
}
