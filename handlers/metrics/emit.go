package metrics

import (
	"fabric-guild/events/histogram"

	"github.com/prometheus/client_golang/prometheus"
)

const prefix = "fabric_guild_"

// A collector reads the parts' counters each time that Prometheus asks. It describes nothing beforehand, so that
// each metric stands in one line with its name, help and value; the registry still checks what it sends.
type collector struct{ Sources }

// Describe implements prometheus.Collector.
func (*collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
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

// An emitter sends metrics; labels are names and values by turns.
type emitter chan<- prometheus.Metric

func (e emitter) counter(name, help string, v float64, labels ...string) {
	e <- prometheus.MustNewConstMetric(desc(name, help, labels), prometheus.CounterValue, v, values(labels)...)
}

func (e emitter) gauge(name, help string, v float64, labels ...string) {
	e <- prometheus.MustNewConstMetric(desc(name, help, labels), prometheus.GaugeValue, v, values(labels)...)
}

func (e emitter) histogram(name, help string, h *histogram.Histogram, labels ...string) {
	count, sum, atMost := h.Read()
	e <- prometheus.MustNewConstHistogram(desc(name, help, labels), count, sum, atMost, values(labels)...)
}

// tally sends a counter for each name that is known, also those which have not come up yet: Prometheus sees an
// increase only from a value that it has seen before.
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
