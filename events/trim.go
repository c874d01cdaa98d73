package events

import (
	"context"
	"runtime/debug"
	"time"
)

const (
	trimInterval = 500 * time.Millisecond
	trimStreams  = 1000
)

// RunTrim gives memory back to the system, until ctx ends, once a rush of streams is over: to open ten thousand
// takes as much again as to hold them, and a quiet server would not collect it for minutes.
func (r *Router) RunTrim(ctx context.Context) {
	for before, trimmed := 0, 0; sleep(ctx, trimInterval, nil); {
		now := r.Streams()
		if now == before && max(now, trimmed)-min(now, trimmed) >= trimStreams {
			debug.FreeOSMemory()
			trimmed = now
		}
		before = now
	}
}
