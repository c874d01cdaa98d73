package events

import "slices"

// Facts are what a message recorded at its commit. Decide uses nothing else. So a replay a day later gives
// the same answer, whatever has changed since.
type Facts struct {
	XType     XType
	Author    string
	Mentioned []string // the mentioned members without the author, sorted
	WakeList  []string // triage (those on duty), custom; sorted
	Turn      string   // discuss, work: whose turn it is after the message; empty: the message wakes nobody
	Admin     string   // triage: the admin, member or not; empty: none
	// the older rule: it skips nobody; in triage, mentions change nothing and there is no admin
	TwoState bool
	Bound    Bound // what limits whom it wakes
}

// Decide returns what the message means to user, and why. The user must have been a member at the message's
// place in the event log, or be the admin.
func (f *Facts) Decide(user string) (Outcome, Reason) {
	outcome, reason := f.unbounded(user)
	if outcome == Skip || reason == Author {
		return outcome, reason
	}
	switch f.Bound {
	case NoBound:
		return outcome, reason
	case BoundNotice:
		return Observer, Notice
	case BoundGuard, BoundTripped:
		return Observer, LoopGuard
	case BoundMentions:
		if reason == OnDuty || among(f.Mentioned, user) {
			return outcome, reason
		}
	}
	if outcome == Wake { // BoundNone, and bounds that a newer version wrote
		return Observer, NotAddressed
	}
	return outcome, reason
}

// unbounded decides by the x-type alone.
func (f *Facts) unbounded(user string) (Outcome, Reason) {
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
	return Skip, NotAddressed // a newer version wrote this x-type
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

// among reports whether a sorted list has user. It searches binary, because wake lists can be long and a
// message asks for each of its recipients.
func among(sorted []string, user string) bool {
	_, found := slices.BinarySearch(sorted, user)
	return found
}
