package events

import (
	"fmt"
	"slices"
	"testing"
)

// A who is one combination of the properties of a recipient.
type who struct{ author, mentioned, mapped, admin, holder, others bool }

// others: somebody else is mentioned, so that the at-list is not empty.

// A rule is a row of the contract's table. The first row that matches decides.
type rule struct {
	name    string
	fits    func(who) bool
	outcome Outcome
	reason  Reason
}

func always(who) bool { return true }

var (
	theAuthor  = rule{"the author", func(w who) bool { return w.author }, Skip, Author}
	theAuthor2 = rule{
		"the author, who is not skipped", func(w who) bool { return w.author },
		Observer, Author,
	}
	everyone = rule{
		"nobody is mentioned: everyone", func(w who) bool { return !w.mentioned && !w.others },
		Wake, Everyone,
	}
	mentioned   = rule{"mentioned", func(w who) bool { return w.mentioned }, Wake, Mention}
	silent      = rule{"nobody wakes", always, Observer, Silent}
	onDuty      = rule{"on duty, also if mentioned", func(w who) bool { return w.mapped }, Wake, OnDuty}
	theAdmin    = rule{"the admin", func(w who) bool { return w.admin }, Observer, Admin}
	restSkipped = rule{"the rest", always, Skip, NotAddressed}
	rest        = rule{"the rest", always, Observer, NotAddressed}
	onWakeList  = rule{"on the wake list", func(w who) bool { return w.mapped }, Wake, WakeList}
	direct      = rule{"the other", always, Wake, Direct}
	holder      = rule{"whose turn it is", func(w who) bool { return w.holder }, Wake, Turn}
	notHolder   = rule{"the rest", always, Observer, NotYourTurn}
)

// The rows that a bound adds.
var (
	notice        = rule{"a notice", always, Observer, Notice}
	guarded       = rule{"above the loop limit", always, Observer, LoopGuard}
	unmentioned   = rule{"not mentioned", func(w who) bool { return !w.mentioned }, Observer, NotAddressed}
	nobody        = rule{"nobody wakes", always, Observer, NotAddressed}
	skippedTriage = rule{
		"neither on duty, mentioned nor the admin",
		func(w who) bool { return !w.mapped && !w.mentioned && !w.admin }, Skip, NotAddressed,
	}
	adminOnly = rule{
		"the admin", func(w who) bool { return w.admin && !w.mapped && !w.mentioned },
		Observer, Admin,
	}
)

// threeStates and twoStates are the contract's table in the two delivery modes, by the bound.
func threeStates(b Bound) map[XType][]rule {
	switch b {
	case BoundNotice, BoundGuard, BoundTripped:
		last := guarded
		if b == BoundNotice {
			last = notice
		}
		all := map[XType][]rule{Triage: {theAuthor, skippedTriage, last}}
		for _, x := range []XType{General, Report, Custom, DM, Discuss, Work} {
			all[x] = []rule{theAuthor, last}
		}
		return all
	case BoundMentions:
		return map[XType][]rule{
			General: {theAuthor, mentioned, rest},
			Report:  {theAuthor, silent},
			Triage:  {theAuthor, onDuty, mentioned, theAdmin, restSkipped},
			Custom:  {theAuthor, unmentioned, onWakeList, rest},
		}
	case BoundNone:
		return map[XType][]rule{
			General: {theAuthor, nobody},
			Report:  {theAuthor, silent},
			Triage:  {theAuthor, skippedTriage, adminOnly, nobody},
			Custom:  {theAuthor, nobody},
		}
	}
	return map[XType][]rule{
		General: {theAuthor, everyone, mentioned, rest},
		Report:  {theAuthor, silent},
		Triage:  {theAuthor, onDuty, mentioned, theAdmin, restSkipped},
		Custom:  {theAuthor, onWakeList, rest},
		DM:      {theAuthor, direct},
		Discuss: {theAuthor, holder, notHolder},
		Work:    {theAuthor, holder, notHolder},
	}
}

func twoStates(b Bound) map[XType][]rule {
	all := threeStates(b)
	switch b {
	case BoundNotice, BoundGuard, BoundTripped:
		all[Triage] = all[General]
	case BoundNone:
		all[Triage] = []rule{theAuthor, nobody}
	default:
		all[Triage] = []rule{theAuthor, onDuty, rest}
	}
	for _, rules := range all {
		rules[0] = theAuthor2
	}
	return all
}

func TestDecideEveryCombination(t *testing.T) {
	t.Parallel()
	for _, bound := range append([]Bound{NoBound}, Bounds...) {
		for twoState, rules := range map[bool]map[XType][]rule{
			false: threeStates(bound),
			true:  twoStates(bound),
		} {
			for _, xType := range XTypes {
				if rules[xType] == nil {
					if xType.Bounded() {
						t.Errorf("got no rows for %s under the bound %q", xType, bound)
					}
					continue
				}
				t.Run(fmt.Sprintf("%s two-state %v %s", xType, twoState, bound), func(t *testing.T) {
					t.Parallel()
					for bits := range 64 {
						is := func(n int) bool { return bits>>n&1 == 1 }
						w := who{is(0), is(1), is(2), is(3), is(4), is(5)}
						if w.author && w.mentioned {
							continue // the at-list is without the author
						}
						facts := w.facts(xType, twoState)
						facts.Bound = bound
						wantRow(t, w, facts, rules[xType])
					}
				})
			}
		}
	}
}

// wantRow compares a decision with the first row that fits.
func wantRow(t *testing.T, w who, facts *Facts, rows []rule) {
	t.Helper()
	outcome, reason := facts.Decide("me")
	for _, r := range rows {
		if !r.fits(w) {
			continue
		}
		if outcome != r.outcome || reason != r.reason {
			t.Errorf("%s: %+v: got %v, %v; want %v, %v", r.name, w, outcome, reason, r.outcome, r.reason)
		}
		return
	}
	t.Errorf("%+v: no row fits", w)
}

// A bound that a newer version wrote may mean anything, so it wakes nobody.
func TestABoundOfANewerVersionWakesNobody(t *testing.T) {
	t.Parallel()
	for _, xType := range XTypes {
		for bits := range 64 {
			is := func(n int) bool { return bits>>n&1 == 1 }
			facts := who{is(0), is(1), is(2), is(3), is(4), is(5)}.facts(xType, false)
			facts.Bound = "curfew"
			if outcome, reason := facts.Decide("me"); outcome == Wake {
				t.Errorf("%s: got %v, %v; want nobody woken", xType, outcome, reason)
			}
		}
	}
}

func (w who) facts(xType XType, twoState bool) *Facts {
	f := &Facts{
		XType: xType, Author: "author", WakeList: []string{"mapped"}, Turn: "holder", Admin: "admin",
		TwoState: twoState,
	}
	if w.others {
		f.Mentioned = append(f.Mentioned, "other")
	}
	if w.mentioned {
		f.Mentioned = append(f.Mentioned, "me")
	}
	if w.author {
		f.Author = "me"
	}
	if w.mapped {
		f.WakeList = append(f.WakeList, "me")
	}
	if w.holder {
		f.Turn = "me"
	}
	if w.admin {
		f.Admin = "me"
	}
	slices.Sort(f.Mentioned)
	slices.Sort(f.WakeList)
	return f
}

// When the turns are paused, or the author is alone, the event records nobody's turn.
func TestNobodysTurnWakesNobody(t *testing.T) {
	t.Parallel()
	for _, xType := range []XType{Discuss, Work} {
		if outcome, reason := (&Facts{XType: xType, Author: "alice"}).Decide("bob"); outcome != Observer ||
			reason != NotYourTurn {
			t.Errorf("%s: got %v, %v; want %v, %v", xType, outcome, reason, Observer, NotYourTurn)
		}
	}
}

func TestAnXTypeOfANewerVersionReachesNobody(t *testing.T) {
	t.Parallel()
	if outcome, _ := (&Facts{XType: "plenary", Author: "alice"}).Decide("bob"); outcome != Skip {
		t.Errorf("got %v, want %v", outcome, Skip)
	}
}
