package db

import (
	"context"
	"sync/atomic"
	"time"
)

// ForgetTry makes the next caller start a new try.
func (d *DB) ForgetTry() {
	d.tried.mu.Lock()
	defer d.tried.mu.Unlock()
	d.tried.ended = time.Time{}
}

// CountTries counts the tries from now on.
func (d *DB) CountTries() *atomic.Int64 {
	var tries atomic.Int64
	run := d.tried.run
	d.tried.run = func(ctx context.Context) error {
		tries.Add(1)
		return run(ctx)
	}
	return &tries
}

// HoldTries makes each try wait until release is closed.
func (d *DB) HoldTries(release <-chan struct{}) {
	run := d.tried.run
	d.tried.run = func(ctx context.Context) error {
		<-release
		return run(ctx)
	}
}
