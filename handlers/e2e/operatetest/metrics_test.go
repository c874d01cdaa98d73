package operatetest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"fabric-guild/handlers/center/centertest"
	"fabric-guild/handlers/e2e/nodetest"
)

func TestMetricsFollowPrometheusConventions(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{Center: centertest.New(t), Connections: 100})
	m := n.Scrape(t)
	problems, err := promlint.New(strings.NewReader(m.Text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "fabric_guild_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for _, name := range []string{
		"go_goroutines", "go_build_info", "process_open_fds",
		"process_resident_memory_bytes", "process_start_time_seconds",
	} {
		if m.Sum(name) <= 0 {
			t.Errorf("got no %s, want the process' own metrics too", name)
		}
	}
	// Prometheus sees an increase only from a value that it has seen before.
	for _, series := range []string{
		`fabric_guild_stream_resets_total{reason="lost_tail"}`,
		`fabric_guild_streams_closed_total{reason="stalled"}`,
		`fabric_guild_streams{transport="raw"}`, `fabric_guild_stream_catchups_total{source="log"}`,
		`fabric_guild_center_calls_total{endpoint="introspect",outcome="timeout"}`,
		`fabric_guild_streams_closed_total{reason="replaced"}`,
		`fabric_guild_center_refused_total{reason="address"}`, `fabric_guild_connections_evicted_total`,
	} {
		if v, ok := m.Series[series]; !ok || v != 0 {
			t.Errorf("got %v, %v for %s of a server that has just started, want 0", v, ok, series)
		}
	}
}

// What is asked for does not make series: neither paths nor methods, nor anything that somebody chooses.
func TestMetricsHaveBoundedLabels(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice := n.User("alice")
	channel := alice.General(t, "ops", "bob").Channel.ID
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
			if _, err := alice.Do(target.method, target.path, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	m := n.Scrape(t)
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
		if got := m.Series[name+labels]; got != v {
			t.Errorf("got %v for %s, want %v", got, labels, v)
		}
	}
	if got := strings.Count(m.Text, name+"{"); got != len(want) {
		t.Errorf("got %d series of requests, want %d", got, len(want))
	}
	for _, id := range []string{"alice", "bob", channel, "none/", "METHOD"} {
		if strings.Contains(m.Text, id) {
			t.Errorf("got %q in the metrics, want no ids there, and nothing that somebody chose", id)
		}
	}
}
