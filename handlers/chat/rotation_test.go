package chat

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// A room is a channel with its whole roster. It checks the rules of Turn, which see only single members,
// against the whole rotation.
type room struct {
	turn   Turn
	roster []string // in the order in which the members joined
}

// roomOf returns a room with the given number of members, one of whom holds the turn.
func roomOf(members, holder int) room {
	var r room
	for i := range members {
		r.roster = append(r.roster, string(rune('a'+i)))
	}
	r.turn.Holder = r.roster[holder]
	return r
}

// next returns the next after user in the rotation, or "" if there is no other member.
func (r room) next(user string) string {
	i := slices.Index(r.roster, user)
	if i < 0 || len(r.roster) == 1 {
		return ""
	}
	return r.roster[(i+1)%len(r.roster)]
}

func (r *room) post(author, mentioned string) (wakes string) {
	r.turn, wakes = r.turn.AfterMessage(author, mentioned, r.next(author))
	return wakes
}

func (r *room) apply(a Action, caller, target string) (changed bool) {
	r.turn, changed = r.turn.Apply(a, caller, target, r.next(r.turn.Holder))
	if a == Leave {
		r.roster = slices.DeleteFunc(slices.Clone(r.roster), func(s string) bool { return s == caller })
	}
	return changed
}

// held reports whether a member holds the turn. In an empty room it reports whether nobody does.
func (r room) held() bool {
	if len(r.roster) == 0 {
		return r.turn.Holder == ""
	}
	return slices.Contains(r.roster, r.turn.Holder)
}

// For every room of up to five members, every holder, author and mention: after a message, a member other
// than the author holds the turn and is woken, unless the author is alone.
func TestEveryMessage(t *testing.T) {
	t.Parallel()
	for size := 1; size <= 5; size++ {
		for holder := range size {
			for _, author := range roomOf(size, holder).roster {
				for _, mentioned := range append([]string{""}, roomOf(size, holder).roster...) {
					r := roomOf(size, holder)
					wakes := r.post(author, mentioned)
					what := fmt.Sprintf("%d members, turn of %s, %s mentions %q: turn of %q, wakes %q",
						size, r.roster[holder], author, mentioned, r.turn.Holder, wakes)
					switch {
					case !r.held() || r.turn.Paused:
						t.Error("no member holds the turn:", what)
					case size == 1 && wakes != "":
						t.Error("the only member is woken:", what)
					case size > 1 && (wakes != r.turn.Holder || wakes == author):
						t.Error("not exactly the new holder is woken:", what)
					case mentioned != "" && mentioned != author && wakes != mentioned:
						t.Error("the mentioned member is not woken:", what)
					}
					paused := roomOf(size, holder)
					paused.turn.Paused = true
					before := paused.turn
					if wakes := paused.post(author, mentioned); wakes != "" || paused.turn != before {
						t.Errorf("paused: got %+v, which wakes %q, want %+v and nobody woken", paused.turn,
							wakes, before)
					}
				}
			}
		}
	}
}

// If every member posts at its turn, every member has one turn per rotation, in the order in which they
// joined.
func TestEachOncePerRotation(t *testing.T) {
	t.Parallel()
	for size := 2; size <= 6; size++ {
		for holder := range size {
			r := roomOf(size, holder)
			for i := range 3 * size {
				if want := r.roster[(holder+i)%size]; r.turn.Holder != want {
					t.Fatalf("%d members from %d: turn %d belongs to %s, want %s", size, holder, i,
						r.turn.Holder, want)
				}
				r.post(r.turn.Holder, "")
			}
		}
	}
}

// If the turn is only passed on, or if every holder leaves, every member has one turn per rotation.
func TestEachOncePerRotationOfPasses(t *testing.T) {
	t.Parallel()
	for _, a := range []Action{Pass, Leave} {
		for size := 2; size <= 6; size++ {
			r := roomOf(size, size-1)
			var held []string
			for range size {
				held = append(held, r.turn.Holder)
				if !r.apply(a, r.turn.Holder, "") || !r.held() {
					t.Fatalf("%s: got turn %+v of %v", a, r.turn, r.roster)
				}
			}
			roster := roomOf(size, 0).roster
			want := append([]string{roster[size-1]}, roster[:size-1]...)
			if !slices.Equal(held, want) {
				t.Errorf("%s: got %v, want %v", a, held, want)
			}
		}
	}
}

// Sixteen messages in any order make sixteen hand-overs. Each message wakes one user, and never its author.
func TestSixteenMessages(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 0))
		r := roomOf(16, random.IntN(16))
		handovers := 0
		for _, i := range random.Perm(16) {
			author := r.roster[i]
			if wakes := r.post(author, ""); wakes != author && wakes == r.turn.Holder && r.held() {
				handovers++
			}
		}
		if handovers != 16 {
			t.Fatalf("seed %d: got %d hand-overs, want 16", seed, handovers)
		}
	}
}

// FuzzRoom plays random joins, messages and actions. While a room has members, one of them holds the turn.
// Apply reports a change if and only if there is one. Messages do not change a paused turn.
func FuzzRoom(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 2, 0, 8, 1, 3, 2})
	f.Add([]byte{0, 0, 3, 0, 9, 0, 0, 1, 0, 0, 1, 1})
	f.Add([]byte{0, 0, 0, 1, 0, 2, 5, 0, 1, 1, 3, 0, 6, 0, 9, 1, 9, 2})
	f.Fuzz(func(t *testing.T, life []byte) {
		var r room
		for ; len(life) >= 2; life = life[2:] {
			user := string(rune('a' + life[1]%8))
			other := string(rune('a' + life[1]/8%8))
			before := r.turn
			member := slices.Contains(r.roster, user)
			switch step := life[0] % 10; {
			case step == 0 && !member:
				r.roster = append(r.roster, user)
				r.turn = r.turn.Join(user)
			case !member || !slices.Contains(r.roster, other):
			case step <= 2:
				mentioned := ""
				if step == 2 {
					mentioned = other
				}
				wakes := r.post(user, mentioned)
				silent := before.Paused || len(r.roster) == 1
				wrongWake := silent != (wakes == "") || wakes == user
				wrongTurn := before.Paused && r.turn != before || !silent && r.turn.Holder != wakes
				if wrongWake || wrongTurn {
					t.Fatalf("%s posts to %v: got %+v, which wakes %q, after %+v", user, r.roster, r.turn,
						wakes, before)
				}
			default:
				a := []Action{Pass, Take, Give, Pause, Resume, Leave, Leave}[step-3]
				if changed := r.apply(a, user, other); changed != (r.turn != before) {
					t.Fatalf("%s: got changed %t for a change from %+v to %+v", a, changed, before, r.turn)
				}
			}
			if !r.held() {
				t.Fatalf("got turn %+v in %v after step %v", r.turn, r.roster, life[:2])
			}
		}
	})
}
