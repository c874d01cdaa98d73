package pgrun

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"sync"
)

// serverLog passes on what Postgres logs, line by line, and remembers the end
// of it for error messages.
type serverLog struct {
	logger *slog.Logger
	mu     sync.Mutex
	tail   []string
}

const tailLines = 3

// copy returns at the end of r. It never stops reading before: a full pipe
// would stop Postgres.
func (l *serverLog) copy(r io.Reader) {
	lines := bufio.NewReader(r)
	level := slog.LevelDebug
	for {
		line, _, err := lines.ReadLine() // a long line comes in pieces
		if err != nil {
			return
		}
		text := strings.TrimSpace(string(line))
		if text == "" {
			continue
		}
		if line[0] != '\t' { // else it continues the line before
			level = levelOf(text)
		}
		l.remember(text)
		l.logger.Log(context.Background(), level, "postgres", "line", text)
	}
}

func (l *serverLog) remember(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.tail) == tailLines {
		l.tail = l.tail[1:]
	}
	l.tail = append(l.tail, line)
}

func (l *serverLog) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.tail, "; ")
}

// The line's prefix is the backend's type: "client backend: ERROR:  ...".
var severity = regexp.MustCompile(`^([a-z ]+): ([A-Z]+[1-5]?): `)

func levelOf(line string) slog.Level {
	match := severity.FindStringSubmatch(line)
	if match == nil {
		return slog.LevelWarn
	}
	switch backend, sev := match[1], match[2]; {
	case sev == "PANIC":
		return slog.LevelError
	case (sev == "ERROR" || sev == "FATAL") && backend == "client backend":
		return slog.LevelDebug // the client is this program: it has the error
	case sev == "ERROR" || sev == "FATAL":
		return slog.LevelError
	case sev == "WARNING",
		strings.Contains(line, "terminated by signal"),
		strings.Contains(line, "was not properly shut down"):
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}

// telling is what a tool said is wrong, or the last of what it said.
func telling(out string) string {
	var errs []string
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); strings.Contains(line, "PANIC:") || strings.Contains(line, "FATAL:") || strings.Contains(line, "error:") {
			errs = append(errs, line)
		}
	}
	if len(errs) > 0 {
		out = strings.Join(errs, "\n")
	}
	return lastLines(out, 3)
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}
