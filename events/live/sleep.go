package live

import (
	"context"
	"time"
)

// sleep blocks for d, or until bell or ctx wakes it. bell may be nil. It returns false if ctx has ended.
func sleep(ctx context.Context, d time.Duration, bell <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-bell:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
