package chat

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// A room is a channel with its whole roster, against which the rules are held that see single members only.
type room struct {
	turn   Turn
	roster []string // in the order of the joins
}

// of is a room of so many members, a turn held by one of them.
func of(members, holder int) room {
	var r room
	for i := range members {
		r.roster = append(r.roster, string(rune('a'+i)))
	}
	r.turn.Holder = r.roster[holder]
	return r
}

// next is the next after user in join order; "" where there is nobody else.
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

// held reports whether the turn is a member's, if there is any.
func (r room) held() bool {
	if len(r.roster) == 0 {
		return r.turn.Holder == ""
	}
	return slices.Contains(r.roster, r.turn.Holder)
}

// Every room of up to five, every holder, every author, every mention: after a message the turn is a
// member's and not the author's, and they are woken, unless the author is alone.
func TestEveryMessage(t *testing.T) {
	t.Parallel()
	for size := 1; size <= 5; size++ {
		for holder := range size {
			for _, author := range of(size, holder).roster {
				for _, mentioned := range append([]string{""}, of(size, holder).roster...) {
					r := of(size, holder)
					wakes := r.post(author, mentioned)
					what := fmt.Sprintf("%d members, turn of %s, %s mentions %q: turn of %q, wakes %q",
						size, r.roster[holder], author, mentioned, r.turn.Holder, wakes)
					switch {
					case !r.held() || r.turn.Paused:
						t.Error("no member holds it:", what)
					case size == 1 && wakes != "":
						t.Error("alone:", what)
					case size > 1 && (wakes != r.turn.Holder || wakes == author):
						t.Error("not another's:", what)
					case mentioned != "" && mentioned != author && wakes != mentioned:
						t.Error("not the mentioned one's:", what)
					}
					paused := of(size, holder)
					paused.turn.Paused = true
					before := paused.turn
					if wakes := paused.post(author, mentioned); wakes != "" || paused.turn != before {
						t.Errorf("paused: got %+v that wakes %q, want %+v", paused.turn, wakes, before)
					}
				}
			}
		}
	}
}

// Where each posts when it is their turn, each has it once per rotation, in the order of the joins.
func TestEachOncePerRotation(t *testing.T) {
	t.Parallel()
	for size := 2; size <= 6; size++ {
		for holder := range size {
			r := of(size, holder)
			for i := range 3 * size {
				if want := r.roster[(holder+i)%size]; r.turn.Holder != want {
					t.Fatalf("%d members from %d: the turn %d is of %s, want %s", size, holder, i, r.turn.Holder, want)
				}
				r.post(r.turn.Holder, "")
			}
		}
	}
}

// Passed on, the turn comes to everyone once per rotation, whoever asks; so it does if every holder leaves.
func TestEachOncePerRotationOfPasses(t *testing.T) {
	t.Parallel()
	for _, a := range []Action{Pass, Leave} {
		for size := 2; size <= 6; size++ {
			r := of(size, size-1)
			var held []string
			for range size {
				held = append(held, r.turn.Holder)
				if !r.apply(a, r.turn.Holder, "") || !r.held() {
					t.Fatalf("%s: got turn %+v of %v", a, r.turn, r.roster)
				}
			}
			if want := append([]string{of(size, 0).roster[size-1]}, of(size, 0).roster[:size-1]...); !slices.Equal(held, want) {
				t.Errorf("%s: got %v, want %v", a, held, want)
			}
		}
	}
}

// Sixteen messages in any order: sixteen hand-overs, one user woken by each, never the author.
func TestSixteenMessages(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 0))
		r := of(16, random.IntN(16))
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

// FuzzRoom leads rooms through whole lives: while there is a member, the turn is a member's; what is said to
// have changed has; messages leave a paused turn alone.
func FuzzRoom(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 2, 0, 8, 1, 3, 2})
	f.Add([]byte{0, 0, 3, 0, 9, 0, 0, 1, 0, 0, 1, 1})
	f.Add([]byte{0, 0, 0, 1, 0, 2, 5, 0, 1, 1, 3, 0, 6, 0, 9, 1, 9, 2})
	f.Fuzz(func(t *testing.T, life []byte) {
		var r room
		for ; len(life) >= 2; life = life[2:] {
			user := string(rune('a' + life[1]%8))
			other := string(rune('a' + life[1]/8%8))
			before, member := r.turn, slices.Contains(r.roster, user)
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
				if silent != (wakes == "") || wakes == user || before.Paused && r.turn != before || !silent && r.turn.Holder != wakes {
					t.Fatalf("%s posts to %v: got %+v that wakes %q after %+v", user, r.roster, r.turn, wakes, before)
				}
			default:
				a := []Action{Pass, Take, Give, Pause, Resume, Leave, Leave}[step-3]
				if changed := r.apply(a, user, other); changed != (r.turn != before) {
					t.Fatalf("%s: got changed %t from %+v to %+v", a, changed, before, r.turn)
				}
			}
			if !r.held() {
				t.Fatalf("got turn %+v in %v after step %v", r.turn, r.roster, life[:2])
			}
		}
	})
}
