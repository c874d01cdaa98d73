package soaktest

import (
	"slices"
	"sync"
)

// A version is a text that a message has had.
type version struct {
	seq     int64 // of the event that made it so
	content string
	deleted bool
}

// A message is one with all that its delivery is decided by, as of its post.
type message struct {
	id        string
	author    string
	replyTo   string
	versions  []version
	mentioned []string // members, without the author, in the order of the text
	onDuty    []string // the wake list
	turn      string   // whose turn it is after it; empty: nobody's
	admin     string   // triage
}

func (m *message) deleted() bool { return m.versions[len(m.versions)-1].deleted }

// An entry is one event of a channel, as the oracle expects it in the log.
type entry struct {
	kind string
	seq  int64  // 0: not known yet, the log tells
	user string // who it is about
	// maybe marks a change that was not answered: the log has it, or not. It is the channel's last change.
	maybe bool

	members []string // channel.created
	name    string   // channel.created, channel.updated: the name from here on
	reason  string   // turn.changed
	message *message
	version int // of message: the text that this event made
}

// A span is a time of membership: its events are those in [from, to]. to is 0 as long as it lasts.
type span struct{ from, to int64 }

func (s span) covers(seq int64) bool { return s.from <= seq && (s.to == 0 || seq <= s.to) }

// A channel is what the oracle knows of one. Only the worker that owns it changes it.
type channel struct {
	id, guild, xType, creator string
	private                   bool
	history                   string

	roster   []string // who is a member, in the order of the turns
	wakeList []string
	holder   string
	paused   bool
	closed   bool // it gets no more changes
	messages []*message
	joined   map[string]int // for each member: how many messages there were when they came

	mu      sync.Mutex
	entries []*entry

	// Worked out at the end, when every number is known.
	spans      map[string][]span
	names      []version // content is the name
	archivedAt int64
}

func (c *channel) has(user string) bool { return slices.Contains(c.roster, user) }
func (c *channel) listed() bool         { return c.xType == "triage" || c.xType == "custom" }
func (c *channel) turns() bool          { return c.xType == "discuss" || c.xType == "work" }

func (c *channel) add(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = append(c.entries, e)
}

// after is who has the turn after a user: the next in the roster's order, after the last the first.
func (c *channel) after(user string) string {
	if len(c.roster) == 0 {
		return ""
	}
	return c.roster[(slices.Index(c.roster, user)+1)%len(c.roster)]
}

// handOver is the turn after a message, and whom the message wakes by it.
func (c *channel) handOver(author string, mentioned []string) (holder, wakes string) {
	if c.paused {
		return c.holder, ""
	}
	next := c.after(author)
	if len(mentioned) > 0 {
		next = mentioned[0]
	}
	if next == author {
		return author, ""
	}
	return next, next
}

// decide is the README's table of who is woken.
func decide(xType string, m *message, user string) (outcome, reason string) {
	mentioned, onDuty := slices.Contains(m.mentioned, user), slices.Contains(m.onDuty, user)
	switch {
	case user == m.author:
		return "skip", "author"
	case xType == "general" && len(m.mentioned) == 0:
		return "wake", "everyone"
	case xType == "general" && mentioned:
		return "wake", "mention"
	case xType == "report":
		return "observer", "silent"
	case xType == "triage" && onDuty:
		return "wake", "on_duty"
	case xType == "triage" && mentioned:
		return "wake", "mention"
	case xType == "triage" && user == m.admin:
		return "observer", "admin"
	case xType == "triage":
		return "skip", "not_addressed"
	case xType == "custom" && onDuty:
		return "wake", "wake_list"
	case xType == "dm":
		return "wake", "direct"
	case (xType == "discuss" || xType == "work") && user == m.turn:
		return "wake", "turn"
	case xType == "discuss" || xType == "work":
		return "observer", "not_your_turn"
	}
	return "observer", "not_addressed"
}

// settle works out the memberships and the names, once the number of each entry is known.
func (c *channel) settle() {
	c.spans = map[string][]span{}
	for _, e := range c.entries {
		switch e.kind {
		case "channel.created":
			c.names = append(c.names, version{seq: e.seq, content: e.name})
			for _, u := range e.members {
				c.spans[u] = append(c.spans[u], span{from: e.seq})
			}
		case "channel.updated":
			if e.name != "" {
				c.names = append(c.names, version{seq: e.seq, content: e.name})
			}
		case "channel.archived":
			c.archivedAt = e.seq
		case "member.joined":
			c.spans[e.user] = append(c.spans[e.user], span{from: e.seq})
		case "member.left":
			s := c.spans[e.user]
			s[len(s)-1].to = e.seq
		case "message.updated", "message.deleted":
			e.message.versions[e.version].seq = e.seq
		case "message.created":
			e.message.versions[0].seq = e.seq
		}
	}
}

// spanOf is the membership by which a user hears what is at a number.
func (c *channel) spanOf(user string, seq int64) (span, bool) {
	for _, s := range c.spans[user] {
		if s.covers(seq) {
			return s, true
		}
	}
	return span{}, false
}

// openAt reports whether a snapshot for a user as of a number has the channel.
func (c *channel) openAt(user string, seq int64) bool {
	for _, s := range c.spans[user] {
		if s.from <= seq && (s.to == 0 || s.to > seq) {
			return c.archivedAt == 0 || c.archivedAt > seq
		}
	}
	return false
}
