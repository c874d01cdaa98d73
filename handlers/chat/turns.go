package chat

// A Turn is the state of a rotation (discuss, work). The rotation itself is the channel's members in the
// order of their joins, closed to a ring: at creation the creator, who holds the first turn, then the others
// as listed. Here it is seen through single members only, "the next after X": the member who joined next
// after X, else the first of all, and "" where there is nobody but X. So no roster is read, however long.
//
// While a channel has a member, one of its members holds the turn.
type Turn struct {
	Holder string // "" in a channel without members
	Paused bool
}

// An Action changes a turn without a message. It is written alike in a request and as the reason of a
// turn.changed.
type Action string

// The actions. All but Leave can be asked for, by any member: it is the members who set the turn, so nobody
// can hold it up.
const (
	Pass   Action = "pass"   // to the next after the holder, whoever asks
	Take   Action = "take"   // to the caller
	Give   Action = "give"   // to the target
	Pause  Action = "pause"  // messages wake nobody and leave the turn where it is; the actions still move it
	Resume Action = "resume" // messages move it again, from where it is; nobody is woken by that alone
	Leave  Action = "leave"  // the caller left or was removed: if it was their turn, to the next after them
)

// ParseAction reads an action that can be asked for. A target goes with Give, and with no other.
func ParseAction(s string) (Action, bool) {
	switch a := Action(s); a {
	case Pass, Take, Give, Pause, Resume:
		return a, true
	}
	return "", false
}

// AfterMessage returns the turn after a message, and whom the message wakes, which its event records. The
// turn goes to the first mentioned member other than the author, else to the next after the author: never
// to the author, unless they are alone. It is a hand-over also where it goes to the one who had it: who
// wrote does not matter, and each message wakes one. Paused or alone, wakes is "".
func (t Turn) AfterMessage(author, firstMentioned, nextAfterAuthor string) (after Turn, wakes string) {
	if t.Paused {
		return t, ""
	}
	wakes = nextAfterAuthor
	if firstMentioned != "" && firstMentioned != author {
		wakes = firstMentioned
	}
	if wakes == "" || wakes == author {
		return Turn{Holder: author}, ""
	}
	return Turn{Holder: wakes}, wakes
}

// Apply returns the turn after an action, and whether it changed; if it did, the channel hears a turn.changed
// with the action as its reason. The caller is a member, with Leave one until now, and target, which is that
// of Give, is a member: both are looked up before. A Give without target, or an action that there is not,
// changes nothing.
func (t Turn) Apply(a Action, caller, target, nextAfterHolder string) (after Turn, changed bool) {
	after = t
	switch a {
	case Pass:
		if nextAfterHolder != "" {
			after.Holder = nextAfterHolder
		}
	case Take:
		after.Holder = caller
	case Give:
		if target != "" {
			after.Holder = target
		}
	case Pause:
		after.Paused = true
	case Resume:
		after.Paused = false
	case Leave:
		if caller != t.Holder {
			break
		}
		if after.Holder = nextAfterHolder; nextAfterHolder == caller {
			after.Holder = "" // a ring of one, where they are the next after themselves
		}
	}
	return after, after != t
}

// Join returns the turn after user has joined: theirs if nobody was there to hold it. It makes no
// turn.changed, as there is nobody else to hear it.
func (t Turn) Join(user string) Turn {
	if t.Holder == "" {
		t.Holder = user
	}
	return t
}
