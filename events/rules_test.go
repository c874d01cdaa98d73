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
	theAuthor   = rule{"the author", func(w who) bool { return w.author }, Skip, Author}
	theAuthor2  = rule{"the author, who is not skipped", func(w who) bool { return w.author }, Observer, Author}
	everyone    = rule{"nobody is mentioned: everyone", func(w who) bool { return !w.mentioned && !w.others }, Wake, Everyone}
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

func TestDecideEveryCombination(t *testing.T) {
	t.Parallel()
	type table map[XType][]rule
	three := table{
		General: {theAuthor, everyone, mentioned, rest},
		Report:  {theAuthor, silent},
		Triage:  {theAuthor, onDuty, mentioned, theAdmin, restSkipped},
		Custom:  {theAuthor, onWakeList, rest},
		DM:      {theAuthor, direct},
		Discuss: {theAuthor, holder, notHolder},
		Work:    {theAuthor, holder, notHolder},
	}
	two := table{
		General: {theAuthor2, everyone, mentioned, rest},
		Report:  {theAuthor2, silent},
		Triage:  {theAuthor2, onDuty, rest},
		Custom:  {theAuthor2, onWakeList, rest},
		DM:      {theAuthor2, direct},
		Discuss: {theAuthor2, holder, notHolder},
		Work:    {theAuthor2, holder, notHolder},
	}
	for twoState, rules := range map[bool]table{false: three, true: two} {
		for _, xType := range XTypes {
			t.Run(fmt.Sprintf("%s two-state %v", xType, twoState), func(t *testing.T) {
				t.Parallel()
				for bits := range 64 {
					is := func(n int) bool { return bits>>n&1 == 1 }
					w := who{is(0), is(1), is(2), is(3), is(4), is(5)}
					if w.author && w.mentioned {
						continue // the at-list is without the author
					}
					outcome, reason := w.facts(xType, twoState).Decide("me")
					for _, r := range rules[xType] {
						if !r.fits(w) {
							continue
						}
						if outcome != r.outcome || reason != r.reason {
							t.Errorf("%s: %+v: got %v, %v; want %v, %v", r.name, w, outcome, reason, r.outcome, r.reason)
						}
						break
					}
				}
			})
		}
	}
}

func (w who) facts(xType XType, twoState bool) *Facts {
	f := &Facts{XType: xType, Author: "author", WakeList: []string{"mapped"}, Turn: "holder", Admin: "admin", TwoState: twoState}
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
		if outcome, reason := (&Facts{XType: xType, Author: "alice"}).Decide("bob"); outcome != Observer || reason != NotYourTurn {
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
