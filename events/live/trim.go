package live

import (
	"context"
	"runtime/debug"
	"time"
)

const (
	trimInterval = 500 * time.Millisecond
	trimStreams  = 1000
)

// RunTrim returns memory to the system after a rush of streams. It blocks until ctx ends. Opening ten
// thousand streams takes twice the memory of holding them, and a quiet server would not collect the rest for
// minutes.
func (r *Router) RunTrim(ctx context.Context) {
	before := 0
	trimmed := 0
	for sleep(ctx, trimInterval, nil) {
		now := r.Streams()
		if now == before && max(now, trimmed)-min(now, trimmed) >= trimStreams {
			debug.FreeOSMemory()
			trimmed = now
		}
		before = now
	}
}
