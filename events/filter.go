package events

import (
	"slices"

	"github.com/google/uuid"
)

// A Filter is what one connection asks for. Its parts are ANDed; what a user may hear is decided before it.
// The stream's own frames always pass.
type Filter struct {
	Guilds   []string    // nil: all; others do not exist for this connection
	Echo     bool        // my own messages too
	Wakeup   bool        // of the messages only those that wake me
	Types    []string    // empty: all of Kinds
	Channels []uuid.UUID // empty: all; my own channel.* pass nevertheless
}

func (f *Filter) passes(name string, channel uuid.UUID) bool {
	return f.passesOwn(name) && (len(f.Channels) == 0 || slices.Contains(f.Channels, channel))
}

// passesOwn is for my own channel.joined and channel.left.
func (f *Filter) passesOwn(name string) bool {
	return len(f.Types) == 0 || slices.Contains(f.Types, name)
}

func (f *Filter) inGuild(guild string) bool {
	return f.Guilds == nil || slices.Contains(f.Guilds, guild)
}
