package handlers_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fabric-guild/handlers/center/centertest"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// A scrape is what /metrics said: values by their series, as they are written.
type scrape struct {
	text   string
	series map[string]float64
}

// scrape reads the metrics as Prometheus does: without a token.
func (n *node) scrape(t *testing.T) scrape {
	t.Helper()
	nobody := n.as("", "")
	a, err := nobody.do("GET", "/metrics", nil)
	if err != nil || a.status != http.StatusOK || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("got %v with %v and error %v, want metrics", a, a.header, err)
	}
	m := scrape{string(a.body), map[string]float64{}}
	for line := range strings.Lines(m.text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		series, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "} ")
		if value == "" {
			series, value, _ = strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		} else {
			series += "}"
		}
		if m.series[series], err = strconv.ParseFloat(value, 64); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
	}
	return m
}

// sum adds up the series of a metric that have all these labels, each written as name="value".
func (m scrape) sum(name string, labels ...string) (sum float64) {
	for series, v := range m.series {
		if bare, _, _ := strings.Cut(series, "{"); bare != name {
			continue
		}
		if !slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(series, l) }) {
			sum += v
		}
	}
	return sum
}

// families are the names of the server's own metrics.
func (m scrape) families() (names []string) {
	for _, match := range regexp.MustCompile(`(?m)^# TYPE (fabric_guild_\w+) `).FindAllStringSubmatch(m.text, -1) {
		names = append(names, match[1])
	}
	return names
}

func TestMetricsFollowPrometheusConventions(t *testing.T) {
	t.Parallel()
	n := start(t, setup{center: centertest.New(t), connections: 100})
	m := n.scrape(t)
	problems, err := promlint.New(strings.NewReader(m.text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "fabric_guild_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for _, name := range []string{"go_goroutines", "go_build_info", "process_open_fds", "process_resident_memory_bytes", "process_start_time_seconds"} {
		if m.sum(name) <= 0 {
			t.Errorf("got no %s, want the process' own metrics too", name)
		}
	}
	// Prometheus sees an increase only from a value that it has seen before.
	for _, series := range []string{
		`fabric_guild_stream_resets_total{reason="lost_tail"}`, `fabric_guild_streams_closed_total{reason="stalled"}`,
		`fabric_guild_streams{transport="raw"}`, `fabric_guild_stream_catchups_total{source="log"}`,
		`fabric_guild_center_calls_total{endpoint="introspect",outcome="timeout"}`, `fabric_guild_streams_closed_total{reason="replaced"}`,
		`fabric_guild_center_refused_total{reason="address"}`, `fabric_guild_connections_evicted_total`,
	} {
		if v, ok := m.series[series]; !ok || v != 0 {
			t.Errorf("got %v, %v for %s of a server that has just started, want 0", v, ok, series)
		}
	}
}

// What is asked for does not make series: neither paths nor methods, nor anything that somebody chooses.
func TestMetricsHaveBoundedLabels(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice := n.user("alice")
	channel := alice.general(t, "ops", "bob").Channel.ID
	const requests = 20
	for i := range requests {
		for _, target := range []struct{ method, path string }{
			{"GET", fmt.Sprint("/none/", i)},
			{fmt.Sprint("METHOD", i), "/api/me"},
			{"GET", fmt.Sprint("/api/channels/", i)},
			{"GET", "/api/channels/" + channel},
			{"GET", fmt.Sprint("/api/me?a", i)},
			{"GET", "/api/stream?types=none"},
		} {
			if _, err := alice.do(target.method, target.path, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	m := n.scrape(t)
	const name = "fabric_guild_http_request_duration_seconds_count"
	want := map[string]float64{
		`{method="any",route="unmatched",status="4xx"}`:         2 * requests,
		`{method="GET",route="/api/channels/:id",status="2xx"}`: requests,
		`{method="GET",route="/api/channels/:id",status="4xx"}`: requests,
		`{method="GET",route="/api/me",status="4xx"}`:           requests,
		`{method="GET",route="/api/stream",status="4xx"}`:       requests,
		`{method="POST",route="/api/channels",status="2xx"}`:    1,
	}
	for labels, v := range want {
		if got := m.series[name+labels]; got != v {
			t.Errorf("got %v for %s, want %v", got, labels, v)
		}
	}
	if got := strings.Count(m.text, name+"{"); got != len(want) {
		t.Errorf("got %d series of requests, want %d", got, len(want))
	}
	for _, id := range []string{"alice", "bob", channel, "none/", "METHOD"} {
		if strings.Contains(m.text, id) {
			t.Errorf("got %q in the metrics, want no ids there, and nothing that somebody chose", id)
		}
	}
}
