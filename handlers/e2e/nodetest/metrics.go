package nodetest

import (
	"bytes"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"fabric-guild/events/ssetest"
)

// A Readiness is the body of /readyz.
type Readiness struct {
	Status   string   `json:"status"`
	Checks   []string `json:"checks"`
	Warnings []string `json:"warnings"`
}

// A LogBuffer keeps what is written to it. It is safe for concurrent use.
type LogBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (s *LogBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

// String returns what was written so far.
func (s *LogBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// A Scrape is an answer of /metrics. Its keys are series as they are written there, with their labels.
type Scrape struct {
	Text   string
	Series map[string]float64
}

// Scrape reads the metrics without a token, like Prometheus.
func (n *Node) Scrape(t *testing.T) Scrape {
	t.Helper()
	nobody := n.As("", "")
	var a Answer
	var err error
	ssetest.Await(func() bool { // on a slow machine, a test may ask for more than the share of an address
		a, err = nobody.Do("GET", "/metrics", nil)
		return err != nil || a.Status != http.StatusTooManyRequests
	})
	if err != nil || a.Status != http.StatusOK ||
		!strings.HasPrefix(a.Header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("got %v with %v and error %v, want metrics", a, a.Header, err)
	}
	m := Scrape{string(a.Body), map[string]float64{}}
	for line := range strings.Lines(m.Text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		series, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "} ")
		if value == "" {
			series, value, _ = strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		} else {
			series += "}"
		}
		if m.Series[series], err = strconv.ParseFloat(value, 64); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
	}
	return m
}

// Sum returns the sum of the series of a metric that have all these labels. A label is written as
// name="value".
func (m Scrape) Sum(name string, labels ...string) (sum float64) {
	for series, v := range m.Series {
		if bare, _, _ := strings.Cut(series, "{"); bare != name {
			continue
		}
		if !slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(series, l) }) {
			sum += v
		}
	}
	return sum
}

// Families returns the names of the server's own metrics.
func (m Scrape) Families() (names []string) {
	for _, match := range regexp.MustCompile(`(?m)^# TYPE (fabric_guild_\w+) `).FindAllStringSubmatch(m.Text,
		-1) {
		names = append(names, match[1])
	}
	return names
}
