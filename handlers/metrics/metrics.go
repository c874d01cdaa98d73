// Package metrics serves the server's metrics to Prometheus. The parts of the server keep their own counters;
// this package reads the counters at each scrape and names the metrics. No label holds the id of a user, a
// channel or a message.
package metrics

import (
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"fabric-guild/db"
	"fabric-guild/handlers/center"
	"fabric-guild/handlers/edge"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"fabric-guild/events/live"
)

// Sources are the parts of the server whose counters the metrics show.
type Sources struct {
	Router *live.Router
	Tailer *live.Tailer
	DB     *db.DB
	Center *center.Client // nil: the server runs without Center
	Admin  *center.AdminCache
	Wakes  *Wakes

	MaxStreams int // 0: no limit
	// KeyReadable reports for each key file, by its name, whether it can be read.
	KeyReadable func() map[string]bool

	Connections func() edge.Connections // nil: the server does not count connections
}

// Metrics are the metrics of one server, in their own registry.
type Metrics struct {
	http.Handler // answers a scrape with all metrics
	requests     *prometheus.HistogramVec
	refused      *prometheus.CounterVec
}

// requestSeconds are the upper bounds of the histogram of request durations, in seconds.
var requestSeconds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// New returns the metrics of the sources, of the process, and of the Go runtime. It logs errors of scrapes.
func New(from Sources, logger *slog.Logger) *Metrics {
	registry := prometheus.NewRegistry()
	m := &Metrics{
		Handler: promhttp.HandlerFor(registry,
			promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelError)}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: prefix + "http_request_duration_seconds",
			Help: "Time to answer a request, by method, route and class of status. Of streams, only " +
				"refused requests count.",
			Buckets: requestSeconds,
		}, []string{"method", "route", "status"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "refused_total",
			Help: "Requests that were answered with an error, by the code of the problem.",
		}, []string{"code"}),
	}
	for _, code := range limitCodes {
		m.refused.WithLabelValues(code)
	}
	registry.MustRegister(
		&collector{from}, m.requests, m.refused,
		goCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	return m
}

// goCollector has the usual metrics of a Go program, and go_gc_heap_live_bytes: what the last collection
// left. The other figures of the heap count garbage too.
func goCollector() prometheus.Collector {
	live := collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile(`^/gc/heap/live:bytes$`)}
	return collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(live))
}

// limitCodes are the error codes of limits. Their counters exist from the start, so that Prometheus sees the
// first increase.
var limitCodes = []string{
	"rate_limited", "too_many_requests", "too_many_streams", "server_full",
	"unavailable",
}

// Refused counts a request that was answered with an error. code is an error code of the API.
func (m *Metrics) Refused(code string) { m.refused.WithLabelValues(code).Inc() }

// Request records a request that has been answered, and how long it took. route is the pattern of its route,
// or empty if no route matched. Request never uses the client's own path, and without a route not its method
// either: each new one would create another series.
func (m *Metrics) Request(method, route string, status int, took time.Duration) {
	if route == "" {
		method, route = "any", "unmatched"
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status/100)+"xx").Observe(took.Seconds())
}
