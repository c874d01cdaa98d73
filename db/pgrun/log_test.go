package pgrun

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestLevelOf(t *testing.T) {
	t.Parallel()
	tests := []struct {
		line string
		want slog.Level
	}{
		{`postmaster: LOG:  database system is ready to accept connections`, slog.LevelDebug},
		{`client backend: ERROR:  duplicate key value violates unique constraint "x"`, slog.LevelDebug},
		{`client backend: FATAL:  terminating connection due to administrator command`, slog.LevelDebug},
		{`client backend: PANIC:  could not write to file "pg_wal/xlogtemp.1"`, slog.LevelError},
		{`checkpointer: ERROR:  could not fsync file`, slog.LevelError},
		{`postmaster: FATAL:  could not map anonymous shared memory`, slog.LevelError},
		{`autovacuum worker: WARNING:  odd`, slog.LevelWarn},
		{`postmaster: LOG:  server process (PID 7) was terminated by signal 9: Killed`, slog.LevelWarn},
		{
			`startup: LOG:  database system was not properly shut down; automatic recovery in progress`,
			slog.LevelWarn,
		},
		{`error while loading shared libraries: libpq.so`, slog.LevelWarn},
	}
	for _, test := range tests {
		if got := levelOf(test.line); got != test.want {
			t.Errorf("got %v for %q, want %v", got, test.line, test.want)
		}
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	for out, want := range map[string]string{
		"one\ntwo\nthree\nfour\n": "two; three; four",
		"creating files\n2026 PANIC:  could not write: No space left\n" +
			"child process exited\ninitdb: removing data directory\nbye\n": "2026 PANIC:  could not write: " +
			"No space left",
		"initdb: error: no such locale\nhint\n": "initdb: error: no such locale",
	} {
		if got := summary(out); got != want {
			t.Errorf("%q: got %q, want %q", out, got, want)
		}
	}
}

func TestServerLogKeepsItsLastLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := &serverLog{logger: slog.New(slog.NewTextHandler(&out, nil))}
	l.copy(strings.NewReader("one\ntwo\n\n" + strings.Repeat("x", 100_000) +
		"\nthree\nfour\ncheckpointer: ERROR:  five\n\tand six\n"))
	if got, want := l.last(), "four; checkpointer: ERROR:  five; and six"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if want := `level=ERROR msg=postgres line="and six"`; !strings.Contains(out.String(), want) {
		t.Errorf("got %s, want a continuation line at the level of its first line: %s",
			out.String()[out.Len()-300:], want)
	}
}

func TestStatementsAndRowsStayOutOfTheLog(t *testing.T) {
	t.Parallel()
	var out syncBuffer
	logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	pg := startWith(t, Config{Dir: stateDir(t), Logger: logger})
	conn := connect(t, pg.URL())
	exec1(t, conn, `CREATE TABLE posts (content text CONSTRAINT posts_key UNIQUE)`)
	exec1(t, conn, `INSERT INTO posts VALUES ('secret')`)
	if _, err := conn.Exec(t.Context(), `INSERT INTO posts VALUES ('secret')`); err == nil {
		t.Fatal("got no error, want a violation of the constraint")
	}
	stop(t, pg)
	if !strings.Contains(out.String(), "posts_key") {
		t.Error("got no log line about the violation, want one")
	}
	if strings.Contains(out.String(), "secret") {
		t.Error("the log contains the content of the row")
	}
}
