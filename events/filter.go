package events

import (
	"bytes"
	"slices"

	"github.com/google/uuid"
)

// A Filter is what one stream asks for. An event must pass all parts. The filter applies after the rules that
// decide what the user may hear. Frames about the stream itself always pass.
type Filter struct {
	Guilds   []string    // nil: all; other guilds do not exist for this stream
	Echo     bool        // include the user's own messages
	Wakeup   bool        // of the message events, only messages that wake the user
	Types    []string    // empty: all of EventNames
	Channels []uuid.UUID // empty: all; the user's own joins and leaves pass anyway
}

func (f *Filter) passes(name string, channel uuid.UUID) bool {
	return f.passesOwn(name) && (len(f.Channels) == 0 || slices.Contains(f.Channels, channel))
}

// passesOwn is the filter for the user's own joins and leaves.
func (f *Filter) passesOwn(name string) bool {
	return len(f.Types) == 0 || slices.Contains(f.Types, name)
}

func (f *Filter) inGuild(guild string) bool {
	return f.Guilds == nil || slices.Contains(f.Guilds, guild)
}

// OpenChannels returns the channels of a page of memberships that a snapshot as of asOf shows, ordered by id.
// It leaves out channels that the user has left, and archived ones.
func (f *Filter) OpenChannels(memberships []Membership, asOf int64) []Channel {
	out := []Channel{}
	for _, m := range memberships {
		if (m.Left == 0 || m.Left > asOf) && m.Channel.ArchivedAt == nil && f.inGuild(m.Channel.GuildID) {
			out = append(out, m.Channel)
		}
	}
	slices.SortFunc(out, func(a, b Channel) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return out
}
