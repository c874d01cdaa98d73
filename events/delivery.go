package events

import "slices"

// A Reason says why a recipient is woken by a message or is not. It stands on the wire as wakeReason.
type Reason uint8

// The reasons. The zero Reason is that of a recipient who gets no frame at all, and, as the index of a
// cached frame, that of the frame which tells others about a membership.
const (
	Skipped Reason = iota
	Author
	Everyone
	Mention
	NotAddressed
	Silent
	Direct
	reasons // how many there are
)

var reasonNames = [reasons]string{
	"skipped", "author", "everyone", "mention", "not_addressed", "silent", "direct",
}

func (r Reason) String() string { return reasonNames[r] }

// Wakes reports whether a recipient with this reason is to start its model.
func (r Reason) Wakes() bool { return r == Everyone || r == Mention || r == Direct }

// Facts are what a message's event recorded when it was committed. Whoever hears it, now or in a replay a
// day later, is decided from them alone.
type Facts struct {
	XType     XType
	Author    string
	Mentioned []string // the at-list: mentioned members without the author
}

// Decide tells why user, a member at the message's place in the log, hears the message. The author is
// skipped; a stream that asks for its own messages shows them with the reason Author.
func (f Facts) Decide(user string) Reason {
	if user == f.Author {
		return Author
	}
	switch f.XType {
	case General:
		switch {
		case len(f.Mentioned) == 0:
			return Everyone
		case slices.Contains(f.Mentioned, user):
			return Mention
		}
		return NotAddressed
	case Report:
		return Silent
	case DM:
		return Direct
	}
	return NotAddressed
}
