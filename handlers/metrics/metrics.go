// Package metrics is what Prometheus is told. The parts of the server count for themselves; here their counters
// are read when Prometheus asks, and get their names. No label holds the id of a user, a channel or a message.
package metrics

import (
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"fabric-guild/db"
	"fabric-guild/handlers/center"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"fabric-guild/events/live"
)

// Sources are the parts that count.
type Sources struct {
	Router *live.Router
	Tailer *live.Tailer
	DB     *db.DB
	Center *center.Client // nil: there is none
	Admin  *center.AdminCache
	Wakes  *Wakes

	MaxStreams int // 0: any number
	// KeyReadable reports for each key file, by its name, whether it can be read.
	KeyReadable func() map[string]bool

	Connections func() Connections // nil: they are not counted
}

// Connections are those that clients have to the server, and what became of too many.
type Connections struct {
	Open, Idle, Max  int
	Evicted, Refused int64 // idle connections closed for newcomers; requests refused by the bound of an address
}

// Metrics are those of one server, in a registry of its own.
type Metrics struct {
	http.Handler // answers with all of them
	requests     *prometheus.HistogramVec
	refused      *prometheus.CounterVec
}

// requestSeconds are the bounds of the buckets of requests.
var requestSeconds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// New returns the metrics of these parts, of the process, and of Go.
func New(from Sources, logger *slog.Logger) *Metrics {
	registry := prometheus.NewRegistry()
	m := &Metrics{
		Handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelError)}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    prefix + "http_request_duration_seconds",
			Help:    "Time to answer a request, by method, pattern of the route, and class of the status. Streams are counted where they were refused only.",
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
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewBuildInfoCollector(),
	)
	return m
}

// limitCodes are those of limits: they show from the start, so that Prometheus sees the first increase.
var limitCodes = []string{"rate_limited", "too_many_requests", "too_many_streams", "server_full", "unavailable"}

// Refused counts a request that was answered with an error. code is one of the contract's.
func (m *Metrics) Refused(code string) { m.refused.WithLabelValues(code).Inc() }

// Request counts a request that has been answered. route is a pattern of the API, empty for none: paths and
// methods as they came would make a series each.
func (m *Metrics) Request(method, route string, status int, took time.Duration) {
	if route == "" {
		method, route = "any", "unmatched"
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status/100)+"xx").Observe(took.Seconds())
}
