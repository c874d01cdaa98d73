package soaktest

import (
	"slices"
	"sync"
)

// A version is one text of a message.
type version struct {
	seq     int64 // of the event that made this version
	content string
	deleted bool
}

// A message has everything that decides its delivery, as of the time of its post.
type message struct {
	id        string
	author    string
	replyTo   string
	versions  []version
	mentioned []string // members, without the author, in the order of the text
	onDuty    []string // the wake list
	turn      string   // the user who has the turn after the message; empty: nobody
	admin     string   // triage channel: the admin
}

func (m *message) deleted() bool { return m.versions[len(m.versions)-1].deleted }

// An entry is one event of a channel, as the oracle expects it in the event log.
type entry struct {
	kind string
	seq  int64  // 0: unknown until the oracle reads the event log
	user string // the user whom the event is about
	// maybe marks a change that got no answer, so the event log may have it or not. It is the last change of
	// its channel.
	maybe bool

	members []string // channel.created
	name    string   // channel.created, channel.updated: the name from here on
	reason  string   // turn.changed
	message *message
	version int // index of the message's version that this event made
}

// A span is the time of a membership. Its events are in [from, to]. While the membership lasts, to is 0.
type span struct{ from, to int64 }

func (s span) covers(seq int64) bool { return s.from <= seq && (s.to == 0 || seq <= s.to) }

// A channel is everything that the oracle knows about a channel. Only the worker that owns it changes it.
type channel struct {
	id, guild, xType, creator string
	private                   bool
	history                   string

	roster   []string // the members in the order of the turns
	wakeList []string
	holder   string
	paused   bool
	closed   bool // it gets no more changes
	messages []*message
	joined   map[string]int // member to the number of messages before the member joined

	mu      sync.Mutex
	entries []*entry

	// settle sets these fields at the end, when every number is known.
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

// after returns who has the turn after a user: the next user in the roster. After the last user comes the
// first.
func (c *channel) after(user string) string {
	if len(c.roster) == 0 {
		return ""
	}
	return c.roster[(slices.Index(c.roster, user)+1)%len(c.roster)]
}

// handOver returns who has the turn after a message, and whom the message wakes because of the turn.
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

// decide implements the table of docs/waking.md: whom a message wakes, and why.
func decide(xType string, m *message, user string) (outcome, reason string) {
	mentioned := slices.Contains(m.mentioned, user)
	onDuty := slices.Contains(m.onDuty, user)
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

// settle computes the memberships and the names. The number of each entry must be known.
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

// spanOf returns the membership through which a user gets the event with a number.
func (c *channel) spanOf(user string, seq int64) (span, bool) {
	for _, s := range c.spans[user] {
		if s.covers(seq) {
			return s, true
		}
	}
	return span{}, false
}

// openAt reports whether a user's snapshot at a number contains the channel.
func (c *channel) openAt(user string, seq int64) bool {
	for _, s := range c.spans[user] {
		if s.from <= seq && (s.to == 0 || s.to > seq) {
			return c.archivedAt == 0 || c.archivedAt > seq
		}
	}
	return false
}
