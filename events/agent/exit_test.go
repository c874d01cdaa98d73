package agent_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"fabric-guild/handlers/config"
)

// When the agent cannot work, the exit code and one line on stderr say why. The line never contains a token.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	g := newGuild(t)
	const secret = "a-secret-of-the-test"
	answer := func(status int) []string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
		}))
		t.Cleanup(s.Close)
		return []string{"-url", s.URL, "-exec", "cat"}
	}
	exec := []string{"-exec", "cat"}
	none := []string{config.EnvPrefix + "TOKEN="}
	wrong := []string{config.EnvPrefix + "TOKEN=" + secret}
	for name, tt := range map[string]struct {
		env, args []string
		code      int
		stderr    string // a regular expression for the whole output
	}{
		"unknown flag":    {nil, []string{"-frobnicate"}, 2, `.*-frobnicate.*\n`},
		"an argument":     {nil, []string{"-exec", "cat", "bob"}, 2, `.*"bob".*\n`},
		"no command":      {nil, nil, 2, `.*-exec.*\n`},
		"no token":        {none, exec, 2, `.*-token-file.*\n`},
		"no URL":          {nil, []string{"-url", "chat.example", "-exec", "cat"}, 2, `.*-url.*\n`},
		"none at once":    {nil, []string{"-exec", "cat", "-parallel", "0"}, 2, `.*-parallel.*\n`},
		"a short lease":   {nil, []string{"-exec", "cat", "-lease", "1s"}, 2, `.*-lease.*\n`},
		"a long timeout":  {nil, []string{"-exec", "cat", "-timeout", "2h"}, 2, `.*-timeout.*\n`},
		"a limit":         {nil, []string{"-exec", "cat", "-limit", "101"}, 2, `.*-limit.*\n`},
		"no age":          {nil, []string{"-exec", "cat", "-max-age", "1ms"}, 2, `.*-max-age.*\n`},
		"no such channel": {nil, []string{"-exec", "cat", "-channels", "ops"}, 2, `.*400.*channelIds.*\n`},
		"wrong token":     {wrong, exec, 3, `.*token_invalid.*\n`},
		"no token file":   {nil, append(exec, "-token-file", "missing"), 1, `.*missing.*no such file.*\n`},
		"forbidden":       {nil, answer(403), 4, `.*403.*\n`},
		"not found":       {nil, answer(404), 1, `.*404.*\n`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := g.launch(tt.env, tt.args...)
			r.WantExit(tt.code)
			want := regexp.MustCompile(`^` + tt.stderr + `$`)
			if got := r.Err.String(); !want.MatchString(got) || strings.Contains(got, secret) {
				t.Errorf("got %q on stderr, want it to match %q", got, tt.stderr)
			}
		})
	}
}
