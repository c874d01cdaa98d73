package pgrun

import (
	"fmt"
	"io"
	"strings"
)

// Bar shows how far a download has come: on a terminal as a bar that grows in its line, elsewhere as a line
// for each quarter. The result is for Config.Fetching.
func Bar(w io.Writer, terminal bool) func(done, total int64) {
	const width, mega = 30, 1 << 20
	shown := int64(-1)
	return func(done, total int64) {
		if total <= 0 {
			return
		}
		step, steps := done*width/total, int64(width)
		if !terminal {
			step, steps = done*4/total, 4
		}
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
		_, _ = fmt.Fprintf(w, "\r[%s%s] %.1f of %.1f MiB%s", strings.Repeat("#", int(step)), strings.Repeat(" ", int(steps-step)),
			float64(done)/mega, float64(total)/mega, end)
	}
}
