package metrics

import (
	"fabric-guild/events/histogram"

	"github.com/prometheus/client_golang/prometheus"
)

const prefix = "fabric_guild_"

// A collector reads the counters of all sources at each scrape. It describes no metric in advance, so that
// one line of code has the name, the help and the value of a metric. The registry still checks the metrics
// that the collector sends.
type collector struct{ Sources }

// Describe implements prometheus.Collector. It sends nothing.
func (*collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector. It may wait for Postgres, for queueTimeout at most.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	e := emitter(ch)
	c.streams(e)
	c.log(e)
	c.database(e)
	c.authority(e)
	c.keys(e)
	c.connections(e)
	c.wakes(e)
}

// An emitter sends metrics. Its methods take labels as pairs: a name, its value, the next name, and so on.
type emitter chan<- prometheus.Metric

func (e emitter) counter(name, help string, v float64, labels ...string) {
	e <- prometheus.MustNewConstMetric(desc(name, help, labels), prometheus.CounterValue, v,
		values(labels)...)
}

func (e emitter) gauge(name, help string, v float64, labels ...string) {
	e <- prometheus.MustNewConstMetric(desc(name, help, labels), prometheus.GaugeValue, v, values(labels)...)
}

func (e emitter) histogram(name, help string, h *histogram.Histogram, labels ...string) {
	count, sum, atMost := h.Read()
	e <- prometheus.MustNewConstHistogram(desc(name, help, labels), count, sum, atMost, values(labels)...)
}

// tally calls send for each name in counts, and with 0 for each known name that is not in counts. Prometheus
// sees an increase only if it has scraped a value before, so a known name needs a value from the start.
func (e emitter) tally(counts map[string]int64, known []string, send func(name string, n float64)) {
	for _, name := range known {
		if _, ok := counts[name]; !ok {
			send(name, 0)
		}
	}
	for name, n := range counts {
		send(name, float64(n))
	}
}

func desc(name, help string, labels []string) *prometheus.Desc {
	var names []string
	for i := 0; i < len(labels); i += 2 {
		names = append(names, labels[i])
	}
	return prometheus.NewDesc(prefix+name, help, names, nil)
}

func values(labels []string) (values []string) {
	for i := 1; i < len(labels); i += 2 {
		values = append(values, labels[i])
	}
	return values
}
