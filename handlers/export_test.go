package handlers

import "time"

// Lifetime is how long a stream may last.
func Lifetime(most time.Duration) time.Duration { return lifetime(most) }
