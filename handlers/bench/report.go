package bench

import (
	"fmt"
	"io"
	"maps"
	"math"
	"strings"
	"text/tabwriter"
)

// Figures are the measured numbers. A name ends with its unit.
type Figures map[string]float64

// A Row is one measurement.
type Row struct {
	Scenario string  `json:"scenario"`
	What     string  `json:"what"`
	Figures  Figures `json:"figures"`
}

// A Report is the result of a run.
type Report struct {
	Rows []Row `json:"rows"`
}

// add adds a row. It drops figures that could not be measured, such as a ratio to nothing: JSON has no number
// for them.
func (b *run) add(scenario, what string, f Figures) {
	maps.DeleteFunc(f, func(_ string, v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
	b.report.Rows = append(b.report.Rows, Row{scenario, what, f})
}

// figureOrder is the order of figures in a line. A name is the unit, preceded by what the figure is about
// where the unit does not say it.
var figureOrder = []string{
	"s", "streams/s", "KiB/stream", "CPU ms/stream", "live KiB/claim", "KiB/claim",
	"cycles/s", "posts/s", "deliveries/s", "events/s",
	"p50 ms", "p99 ms", "claim p50 ms", "claim p99 ms", "stream p50 ms", "reply p50 ms", "post p50 ms",
	"post p99 ms",
	"claim/stream", "reply/post", "cycle/post", "CPU us/delivery",
}

// Write writes the report as a table for people.
func (r Report) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range r.Rows {
		var figures []string
		for _, name := range figureOrder {
			if v, ok := row.Figures[name]; ok {
				unit := strings.LastIndexByte(name, ' ') + 1
				figures = append(figures, name[:unit]+amount(v)+" "+name[unit:])
			}
		}
		_, err := fmt.Fprintf(t, "%s\t%s\t%s\n", row.Scenario, row.What, strings.Join(figures, ", "))
		if err != nil {
			return err
		}
	}
	return t.Flush()
}

// amount formats a number with about three digits.
func amount(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
