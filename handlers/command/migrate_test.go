package command

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/guildtest"
)

func TestMigrateOnThePrivatePostgres(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	state := guildtest.StateDir(t)
	for _, args := range [][]string{
		{"migrate", "-state", state, "status"}, {"migrate", "status", "-state", state},
	} {
		stdout, stderr, code := program.Run(t, nil, args...)
		if code != 1 || stdout != "" || !strings.Contains(stderr, "there is no private Postgres in "+state) {
			t.Errorf("%v: got exit %d, %q and %q, want a refusal", args, code, stdout, stderr)
		}
	}
	if files, err := os.ReadDir(state); err != nil || len(files) != 0 {
		t.Errorf("got %v and %v, want a command that only looks", files, err)
	}
	for _, step := range []struct {
		args []string
		want string
	}{
		{[]string{"migrate", "up", "-state", state}, `^(applied +\d{5}_\w+\.sql\n)+$`},
		{[]string{"migrate", "-state", state, "status"}, `^(applied +\d{5}_\w+\.sql\n)+$`},
		{[]string{"migrate", "-state", state}, `^(applied +\d{5}_\w+\.sql\n)+$`},
	} {
		stdout, stderr, code := program.Run(t, nil, step.args...)
		if code != 0 || !regexp.MustCompile(step.want).MatchString(stdout) {
			t.Errorf("%v: got exit %d, %q and %q, want 0 and %s", step.args, code, stdout, stderr, step.want)
		}
	}
	if !guildtest.LockFree(t, state) {
		t.Error("got a Postgres that lives on, want it stopped with the command")
	}
}

// A program that is older than the schema does not start, and "migrate status" shows what it does not know.
func TestANewerSchemaStopsTheStart(t *testing.T) {
	t.Parallel()
	state, url := guildtest.StateDir(t), dbtest.New(t)
	if _, err := dbtest.Connect(t, url).Exec(
		t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)`,
	); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		args []string
		code int
		want string
	}{
		{
			[]string{"serve", "-addr", "127.0.0.1:0"},
			1,
			`schema has version 99999, and this program knows versions up to \d+:`,
		},
		{[]string{"migrate"}, 1, `schema has version 99999, and this program knows versions up to \d+:`},
	} {
		_, stderr, code := program.Run(t, nil, append(step.args, "-state", state, "-database-url", url)...)
		if code != step.code || !regexp.MustCompile(step.want).MatchString(stderr) {
			t.Errorf("%v: got exit %d and %q, want %d and %s", step.args, code, stderr, step.code, step.want)
		}
	}
	stdout, stderr, code := program.Run(t, nil, "migrate", "-state", state, "-database-url", url, "status")
	if code != 0 || !regexp.MustCompile(
		`\napplied +99999, unknown to this program: a newer version has applied it\n$`,
	).MatchString(stdout) {
		t.Errorf("got exit %d, %q and %q, want the version that is not known", code, stdout, stderr)
	}
}
