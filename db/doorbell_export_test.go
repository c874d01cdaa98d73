package db

import "time"

// What a test of the doorbell sets and sees.
func (b *Doorbell) SayHello(every time.Duration) { b.hello = every }
func (b *Doorbell) Alone() bool                  { return b.alone() }
func (b *Doorbell) Node() string                 { return b.node }
func (b *Doorbell) Ring()                        { b.ring() }
