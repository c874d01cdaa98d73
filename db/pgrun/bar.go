package pgrun

import (
	"fmt"
	"io"
	"strings"
)

// Bar returns a function for Config.Fetching that shows the progress of a download on w. On a terminal it
// draws a bar that grows in place. Elsewhere it writes one line for each quarter. It shows nothing while the
// total is unknown.
func Bar(w io.Writer, terminal bool) func(done, total int64) {
	const (
		width = 30
		mega  = 1 << 20
	)
	shown := int64(-1)
	return func(done, total int64) {
		if total <= 0 {
			return
		}
		steps := int64(width)
		if !terminal {
			steps = 4
		}
		step := done * steps / total
		if step == shown {
			return
		}
		shown = step
		if !terminal {
			_, _ = fmt.Fprintf(w, "fetched %.1f of %.1f MiB\n", float64(done)/mega, float64(total)/mega)
			return
		}
		end := ""
		if step == steps {
			end = "\n"
		}
		full := strings.Repeat("#", int(step))
		empty := strings.Repeat(" ", int(steps-step))
		_, _ = fmt.Fprintf(w, "\r[%s%s] %.1f of %.1f MiB%s", full, empty,
			float64(done)/mega, float64(total)/mega, end)
	}
}
