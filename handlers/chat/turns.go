package chat

// A Turn is the state of the rotation of a discuss or work channel. The rotation is the ring of the
// channel's members, in the order in which they joined. At the creation of the channel these are the
// creator, who holds the first turn, and then the other members as listed.
//
// The functions here see only single members of the rotation. "The next after X" is the member who joined
// next after X, or the first member if X joined last, or "" if X is the only member. So nobody has to read
// the whole roster, which may be long.
//
// While a channel has members, one of them holds the turn.
type Turn struct {
	Holder string // "" if the channel has no members
	Paused bool
}

// An Action changes a turn without a message. Its text is the same in a request and as the reason of a
// turn.changed event.
type Action string

// The actions. Any member may request any action except Leave. So no member can block the turn.
const (
	Pass Action = "pass" // the turn goes to the next after the holder; any member may pass it
	Take Action = "take" // the turn goes to the caller
	Give Action = "give" // the turn goes to the target
	// Pause stops turns: messages wake nobody and do not move the turn. Actions still move it.
	Pause Action = "pause"
	// Resume starts turns again: messages move the turn from its current holder. Resume itself wakes nobody.
	Resume Action = "resume"
	// Leave means that the caller left or was removed. If the caller held the turn, it goes to the next
	// after the caller.
	Leave Action = "leave"
)

// ParseAction parses an action that a member may request. It returns false for any other text, also for
// Leave.
func ParseAction(s string) (Action, bool) {
	switch a := Action(s); a {
	case Pass, Take, Give, Pause, Resume:
		return a, true
	}
	return "", false
}

// AfterMessage returns the turn after a message, and the user whom the message wakes. The event of the
// message records that user.
//
// The turn goes to the first mentioned member other than the author, or else to the next after the author.
// It never goes to the author, unless the author is the only member. The author does not have to be the
// holder. The user who gets the turn is woken even if that user held it already, so each message wakes one
// user. If turns are paused or the author is alone, wakes is "".
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

// Apply returns the turn after an action, and whether the turn changed. If it changed, the channel gets a
// turn.changed event with the action as its reason. The caller must be a member (for Leave: must have been
// one until now). target is used only for Give and must be a member. Apply does not check this. A Give
// without a target or an unknown action changes nothing.
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
		after.Holder = nextAfterHolder
		if nextAfterHolder == caller { // the caller was alone: in a ring of one, the next is the caller
			after.Holder = ""
		}
	}
	return after, after != t
}

// Join returns the turn after user has joined. The first member of an empty channel gets the turn. This
// makes no turn.changed event, because no other member could hear it.
func (t Turn) Join(user string) Turn {
	if t.Holder == "" {
		t.Holder = user
	}
	return t
}
