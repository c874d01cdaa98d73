package command

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/guildtest"
)

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
		{"-h", nil, []string{"-h"}, 0, `fabric-guild is (.|\n)*-addr(.|\n)*`, ``},
		{"serve -h", nil, []string{"serve", "-h"}, 0, `fabric-guild is (.|\n)*-addr(.|\n)*`, ``},
		{"agent -h", nil, []string{"agent", "-h"}, 0, `fabric-guild agent claims (.|\n)*-exec(.|\n)*`, ``},
		{"tail -h", nil, []string{"tail", "-h"}, 0, `fabric-guild tail follows (.|\n)*-exec(.|\n)*`, ``},
		{"token -h", nil, []string{"token", "-h"}, 0, `(.|\n)*-ttl(.|\n)*`, ``},
		{"unknown command", nil, []string{"sevre"}, 2, ``, `.*"sevre".*\n`},
		{"unknown flag", nil, []string{"-prot", "1"}, 2, ``, `.*-prot.*\n`},
		{
			"bad value", nil,
			[]string{"-drain-streams", "soon"},
			2, ``,
			`.*"soon" .*-drain-streams.*such as.*720h.*\n`,
		},
		{"bad age", nil, []string{"-stream-max-age", "10ms"}, 2, ``, `.*-stream-max-age.*\n`},
		{"bad transport", nil, []string{"-transport", "pigeon"}, 2, ``, `.*-transport.*\n`},
		{
			"Center without its key", nil,
			[]string{"-state", state, "-database-url", unreachable, "-center-base-url", "http://127.0.0.1:1"},
			2, ``, `.*-center-base-url and -center-api-key.*\n`,
		},
		{
			"a key without its Center", nil,
			[]string{"-state", state, "-database-url", unreachable, "-center-api-key", guildtest.Sesame},
			2,
			``, `.*-center-base-url and -center-api-key.*\n`,
		},
		{
			"a doorbell without its database", nil,
			[]string{"-state", state, "-doorbell-url", unreachable},
			2,
			``, `.*-doorbell-url.*-database-url.*\n`,
		},
		{"bad retention", nil, []string{"-retention", "-1h"}, 2, ``, `.*-retention.*\n`},
		{"bad log format", nil, []string{"-log-format", "xml"}, 2, ``, `.*-log-format.*\n`},
		{
			"profiles for everybody", nil,
			[]string{"-debug-addr", ":6060"},
			2, ``,
			`.*-debug-addr .* loopback.*\n`,
		},
		{
			"profiles for a network", nil,
			[]string{"-debug-addr", "192.0.2.1:6060"},
			2, ``,
			`.*-debug-addr .* loopback.*\n`,
		},
		{
			"profiles nowhere", nil,
			[]string{"-debug-addr", "127.0.0.1"},
			2, ``,
			`.*-debug-addr .* loopback.*\n`,
		},
		{"bad prefix", nil, []string{"-base-path", "chat"}, 2, ``, `.*-base-path.*\n`},
		{"a prefix that clients resolve", nil, []string{
			"-state", state, "-database-url", unreachable, "-base-path", "/a/../b",
		}, 2, ``, `.*-base-path.*\n`},
		{"a prefix that is encoded", nil, []string{
			"-state", state, "-database-url", unreachable, "-base-path", "/a%41",
		}, 2, ``, `.*-base-path.*\n`},
		{"a prefix with a query", nil, []string{
			"-state", state, "-database-url", unreachable, "-base-path", "/a?b",
		}, 2, ``, `.*-base-path.*\n`},
		{"an empty segment", nil, []string{
			"-state", state, "-database-url", unreachable, "-base-path", "/a//b",
		}, 2, ``, `.*-base-path.*\n`},
		{
			"a certificate without its key", nil,
			[]string{"-tls-cert", "cert.pem"},
			2, ``,
			`.*-tls-cert and -tls-key.*\n`,
		},
		{"no certificate there", nil, []string{
			"-state", state, "-tls-cert", "/none/cert.pem", "-tls-key",
			"/none/key.pem",
		}, 1, ``, `fabric-guild: .*certificate.*/none/cert\.pem.*\n`},
		{"any origin", nil, []string{"-allow-origin", "*"}, 2, ``, `(.|\n)*-allow-origin(.|\n)*`},
		{
			"an origin with a path", nil,
			[]string{"-allow-origin", "https://a.example,https://b.example/"},
			2,
			``, `(.|\n)*https://b\.example/(.|\n)*`,
		},
		{
			"no network", nil,
			[]string{"-trusted-proxies", "10.0.0.0/8,proxy"},
			2, ``,
			`.*"10\.0\.0\.0/8,proxy".*such as 10\.0\.0\.0/8,::1.*\n`,
		},
		{"less than no rate", nil, []string{"-rate-limit", "-1"}, 2, ``, `.*-rate-limit.*from 0.*\n`},
		{"a rate without end", nil, []string{"-rate-limit", "Inf"}, 2, ``, `.*-rate-limit.*\n`},
		{"no rate", nil, []string{"-rate-limit", "NaN"}, 2, ``, `.*-rate-limit.*\n`},
		{
			"a URL for a host", nil,
			[]string{"-allow-host", "guild.example,https://b.example"},
			2, ``,
			`(.|\n)*a name alone(.|\n)*`,
		},
		{"an address for a host", nil, []string{
			"-allow-host", "fd00::5", "-state", state, "-database-url",
			unreachable, "-addr", "127.0.0.1:0",
		}, 1, ``, `fabric-guild: .*127\.0\.0\.1:1.*refused.*\n`},
		{
			"a port with a host", nil,
			[]string{"-allow-host", "guild.example:8080"},
			2, ``,
			`(.|\n)*a name alone(.|\n)*`,
		},
		{"argument too many", nil, []string{"serve", "now"}, 2, ``, `.*"now".*\n`},
		{
			"bad twin",
			[]string{config.EnvPrefix + "DRAIN_STREAMS=soon"},
			nil, 2, ``,
			`.*` + config.EnvPrefix + `DRAIN_STREAMS.*such as.*720h.*\n`,
		},
		{
			"no source of binaries", nil,
			[]string{"-postgres-source", "nowhere"},
			2, ``,
			`(?s).*must be a URL, or never.*`,
		},
		{
			"a flag wins over its twin",
			[]string{config.EnvPrefix + "STATE=/dev/null/none"},
			[]string{"token", "-state", state, "alice"},
			0, `\S+\n`, ``,
		},
		{
			"state twin",
			[]string{config.EnvPrefix + "STATE=" + state},
			[]string{"token", "alice"},
			0, `\S+\n`, ``,
		},
		{"a token each", nil, []string{
			"token", "-state", state, "-ttl", "1h", "-guild", "g1", "alice",
			"bob",
		}, 0, `(ey\S+\.\S+\.\S+\n){2}`, ``},
		{"token for nobody", nil, []string{"token", "-state", state}, 2, ``, `.*user.*\n`},
		{
			"token for a flag", nil,
			[]string{"token", "-state", state, "alice", "-rotate"},
			2, ``,
			`.*-rotate.*\n`,
		},
		{
			"token with a new key", nil,
			[]string{"token", "-state", state + "/new", "alice"},
			0, `\S+\n`,
			`There was no key in .*/new, .*\n`,
		},
		{"token for no id", nil, []string{"token", "-state", state, "a b"}, 1, ``, `.*"a b" is no id.*\n`},
		{
			"token without time", nil,
			[]string{"token", "-state", state, "-ttl", "0s", "alice"},
			2, ``,
			`.*-ttl.*\n`,
		},
		{
			"token that ends at once", nil,
			[]string{"token", "-state", state, "-ttl", "999ms", "alice"},
			2, ``,
			`.*-ttl.*\n`,
		},
		{"admin without refresh", nil, []string{"admin"}, 2, ``, `.*refresh.*\n`},
		{
			"serve, unreachable", nil,
			[]string{"serve", "-state", state, "-addr", "127.0.0.1:0", "-database-url", unreachable},
			1, ``,
			`fabric-guild: .*127\.0\.0\.1:1.*refused.*\n`,
		},
		{
			"migrate, unreachable", nil,
			[]string{"migrate", "-state", state, "-database-url", unreachable},
			1,
			``, `fabric-guild: .*127\.0\.0\.1:1.*refused.*\n`,
		},
		{
			"migrate and a flag", nil,
			[]string{"migrate", "-state", state, "status", "-postgres-bin", "."},
			2, ``,
			`.*-postgres-bin before.*\n`,
		},
		{
			"database twin",
			[]string{"DATABASE_URL=" + unreachable},
			[]string{"migrate", "-state", state},
			1,
			``, `fabric-guild: .*127\.0\.0\.1:1.*\n(.|\n)*`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := program.Run(t, tt.env, tt.args...)
			if code != tt.code {
				t.Errorf("got exit %d, want %d", code, tt.code)
			}
			for _, out := range []struct{ name, got, want string }{
				{"stdout", stdout, tt.stdout},
				{"stderr", stderr, tt.stderr},
			} {
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

// The page run.md has a row for each flag of the server, and no others; the flags of the other commands it
// names.
func TestPageHasTheFlags(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../docs/run.md")
	if err != nil {
		t.Fatal(err)
	}
	run := string(b)
	var all strings.Builder
	all.WriteString(run)
	for _, name := range []string{"agents", "clients"} { // with the flags of agent and tail
		page, err := os.ReadFile("../docs/" + name + ".md")
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(string(page))
	}
	defined := regexp.MustCompile(`(?m)^  -(\S+)`)
	named := regexp.MustCompile("`-([a-z-]+)")
	for _, command := range []string{"serve", "token", "tail", "agent", "bench"} {
		help, err := exec.CommandContext(t.Context(), program.Path, command, "-h").CombinedOutput()
		if err != nil {
			t.Fatalf("%s -h: %v", command, err)
		}
		var want []string
		for _, m := range defined.FindAllStringSubmatch(string(help), -1) {
			want = append(want, m[1])
			if !strings.Contains(all.String(), "`-"+m[1]) {
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
