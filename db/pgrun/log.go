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

// serverLog passes the log of Postgres on to slog, line by line. It keeps the
// last lines for error messages.
type serverLog struct {
	logger *slog.Logger

	mu   sync.Mutex
	tail []string // at most tailLines
}

const tailLines = 3

// copy reads r to its end and blocks until then. It must not stop reading
// earlier, because a full pipe would stop Postgres.
func (l *serverLog) copy(r io.Reader) {
	lines := bufio.NewReader(r)
	level := slog.LevelDebug
	for {
		line, _, err := lines.ReadLine() // returns a long line in pieces
		if err != nil {
			return
		}
		text := strings.TrimSpace(string(line))
		if text == "" {
			continue
		}
		if line[0] != '\t' { // a line with a tab continues the previous line
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

// last returns the last lines as one.
func (l *serverLog) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.tail, "; ")
}

// severity matches the start of a log line, which begins with the backend's type:
// "client backend: ERROR:  ...".
var severity = regexp.MustCompile(`^([a-z ]+): ([A-Z]+[1-5]?): `)

func levelOf(line string) slog.Level {
	match := severity.FindStringSubmatch(line)
	if match == nil {
		return slog.LevelWarn
	}
	backend := match[1]
	sev := match[2]
	switch {
	case sev == "PANIC":
		return slog.LevelError
	case (sev == "ERROR" || sev == "FATAL") && backend == "client backend":
		return slog.LevelDebug // the client is this program, which gets the error itself
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

// summary returns the last error lines of a tool's output, or its last lines if
// there is no error line.
func summary(out string) string {
	var errs []string
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		for _, mark := range []string{"PANIC:", "FATAL:", "error:"} {
			if strings.Contains(line, mark) {
				errs = append(errs, line)
				break
			}
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
