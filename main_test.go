package main

import (
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

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
		{"/handlers/edge", module + "/handlers!", "who gets in does not depend on the routes", false},
		{"/handlers/edge", module + "/handlers/auth", "who gets in does not depend on who they are", false},
		{"/handlers/edge", module + "/db", "limits are in memory", false},
		{"/handlers/edge", module + "/events/live", "a stream is a place here", false},
		{"/handlers/auth", module + "/handlers/edge", "who somebody is does not depend on where they come from", false},
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
