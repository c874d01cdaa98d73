package db

import (
	"context"
	"sync"
)

// WaitingClaims is how many claims wait for a group.
func WaitingClaims(d *DB) int {
	d.claims.mu.Lock()
	defer d.claims.mu.Unlock()
	return len(d.claims.waiting)
}

// HoldClaims makes the next group of claims wait for release. held is closed once it waits. Until then the
// claims that come wait for one more group. No claim may be in progress.
func HoldClaims(d *DB) (held <-chan struct{}, release func()) {
	begun, end := make(chan struct{}), make(chan struct{})
	var once sync.Once
	do := d.claims.do
	d.claims.do = func(ctx context.Context, group []*claiming) {
		once.Do(func() { close(begun) })
		<-end
		do(ctx, group)
	}
	return begun, func() { close(end) }
}
