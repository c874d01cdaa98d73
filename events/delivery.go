package events

import "slices"

// An Outcome is what a message is to one of its recipients.
type Outcome uint8

// The outcomes. By the two-state rule nobody is skipped.
const (
	Skip     Outcome = iota // not delivered
	Observer                // delivered, not to be acted on
	Wake                    // delivered, and the recipient is to start its model
	outcomes                // how many there are
)

func (o Outcome) String() string { return [outcomes]string{"skip", "observer", "wake"}[o] }

// A Reason says why. It stands on the wire as wakeReason.
type Reason uint8

// The reasons. noReason is not of a message: as the index of a cached frame it is that of the frame which
// everyone hears alike.
const (
	noReason Reason = iota
	Author
	Everyone
	Mention
	NotAddressed
	Silent
	OnDuty
	Admin
	WakeList
	Direct
	Turn
	NotYourTurn
	reasons // how many there are
)

var reasonNames = [reasons]string{
	"", "author", "everyone", "mention", "not_addressed", "silent", "on_duty", "admin", "wake_list", "direct", "turn", "not_your_turn",
}

func (r Reason) String() string { return reasonNames[r] }

// Facts are what a message recorded when it was committed. Whoever hears it, now or in a replay a day
// later, is decided from them alone, whatever has changed since.
type Facts struct {
	XType     XType
	Author    string
	Mentioned []string // the at-list, sorted: mentioned members without the author
	WakeList  []string // triage (on duty), custom; sorted
	Turn      string   // discuss, work: whose turn it is after the message; empty: nobody wakes
	Admin     string   // triage: the Center admin, member or not; empty: there was none
	TwoState  bool     // the older rule: nobody is skipped, in triage mentions change nothing and there is no admin
}

// Decide tells what the message is to user and why. Only those are asked for who were members at the
// message's place in the log, and the admin.
func (f *Facts) Decide(user string) (Outcome, Reason) {
	if user == f.Author {
		if f.TwoState {
			return Observer, Author
		}
		return Skip, Author
	}
	switch f.XType {
	case General:
		switch {
		case len(f.Mentioned) == 0:
			return Wake, Everyone
		case among(f.Mentioned, user):
			return Wake, Mention
		}
		return Observer, NotAddressed
	case Report:
		return Observer, Silent
	case Triage:
		return f.decideTriage(user)
	case Custom:
		if among(f.WakeList, user) {
			return Wake, WakeList
		}
		return Observer, NotAddressed
	case DM:
		return Wake, Direct
	case Discuss, Work:
		if user == f.Turn {
			return Wake, Turn
		}
		return Observer, NotYourTurn
	}
	return Skip, NotAddressed // an x-type of a newer version
}

func (f *Facts) decideTriage(user string) (Outcome, Reason) {
	switch {
	case among(f.WakeList, user):
		return Wake, OnDuty
	case f.TwoState:
		return Observer, NotAddressed
	case among(f.Mentioned, user):
		return Wake, Mention
	case user == f.Admin:
		return Observer, Admin
	}
	return Skip, NotAddressed
}

// among looks into a sorted list, which may be long where many are asked for.
func among(sorted []string, user string) bool {
	_, found := slices.BinarySearch(sorted, user)
	return found
}
