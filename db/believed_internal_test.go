package db

import (
	"testing"
	"time"
)

// The believed time follows a right clock at once. It follows a clock that jumps ahead by one day per hour.
func TestBelievedTime(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	type run struct{ clock, elapsed, want time.Duration } // after start; elapsed since the first run
	for name, runs := range map[string][]run{
		"right": {
			{time.Minute, 0, time.Minute},
			{2 * time.Minute, time.Minute, 2 * time.Minute},
		},
		"ahead": {
			{400 * day, 0, time.Hour},
			{400 * day, time.Hour, time.Hour + day},
			{400 * day, 2 * time.Hour, time.Hour + 2*day},
		},
		"ahead, then right":   {{400 * day, 0, time.Hour}, {time.Hour, time.Hour, time.Hour}},
		"quiet for ten days":  {{10 * day, 0, time.Hour}, {10 * day, 10 * time.Hour, 10 * day}},
		"jumps while it runs": {{0, 0, 0}, {400 * day, time.Minute, 24 * time.Minute}},
		"set back":            {{-day, 0, -day}, {0, time.Hour, 0}},
	} {
		var b believed
		for i, r := range runs {
			if b.follow(start.Add(r.clock), start, start.Add(r.elapsed)); b.time != start.Add(r.want) {
				t.Errorf("%s, run %d: got %v, want %v", name, i, b.time.Sub(start), r.want)
			}
		}
	}
}
