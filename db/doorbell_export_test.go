package db

import "time"

// Fields of a Doorbell that tests set and read.
func (b *Doorbell) SayHello(every time.Duration) { b.hello = every }
func (b *Doorbell) Alone() bool                  { return b.alone() }
func (b *Doorbell) Node() string                 { return b.node }
func (b *Doorbell) Ring()                        { b.ring() }
