package db_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"fabric-guild/db/dbtest"
)

// This file models the wake queue of one user in one channel (wakes_scan.go, wakes_claim.go, wakes_end.go):
// writers that commit late, two servers whose positions lag, a worker on each, leases that end at any moment.
// The model tries every order of their steps. A step is one statement; between two steps any other one may
// take a step.

// A queueRule is a rule of the wake queue that the model can leave out.
type queueRule uint

const (
	scanToPosition    queueRule = 1 << iota // not to the last number: a writer below may be open
	readScannedLocked                       // scanned_seq is read under the consumer's lock
	writeGreatest                           // scanned_seq never steps back
	oneTransaction                          // choice and lease
	oneSelect                               // all conditions of the choice in the statement that locks
	handOutUpToLast                         // nothing beyond last_seq
	fenceByID                               // an ending needs the current id
	actLater                                // an ending decides after its lock is held
	buryTheHandOut                          // not the whole row
	leaseOnlyNew                            // without a choice, only a row that this scan adds

	allQueueRules = leaseOnlyNew<<1 - 1
)

var queueRuleNames = map[queueRule]string{
	scanToPosition: "a scan goes to the position", readScannedLocked: "scanned_seq is read under the lock",
	writeGreatest: "scanned_seq never steps back", oneTransaction: "choice and lease are one transaction",
	oneSelect: "one SELECT has all conditions", handOutUpToLast: "nothing beyond last_seq is handed out",
	fenceByID: "an ending needs the current id", actLater: "an ending acts in a later statement",
	buryTheHandOut: "only the last hand-out is buried",
	leaseOnlyNew:   "only a row that the scan adds is leased without a choice",
}

const (
	queueMessages = 2
	queueAttempts = 2 // then a wake is dead
)

// Steps of a worker.
const (
	idle int8 = iota
	locksConsumer
	looks // whether there is a row before its scan
	scans
	chooses
	locksChosen // only without oneSelect
	leases
	working
	fences
	ends
)

const (
	undrawn int8 = iota
	unsettled
	committed
	rolledBack
)

type queueWorker struct {
	at             int8
	position       int8 // of its server, read before the claim
	scanned        int8 // as it has read it
	id             int8 // of its wake
	last, upto     int8 // of the row, as it has read it
	occupied       bool // there was a row before its scan
	claims, extend int8 // that it may still make
}

// A queueWorld is the state of the model. It is comparable.
type queueWorld struct {
	drawn    int8
	messages [queueMessages + 1]int8 // by number
	covered  [queueMessages + 1]int8 // how often an ending has covered it
	handed   [queueMessages + 1]bool
	at       [2]int8 // positions of the servers
	scanned  int8

	row         bool
	first, last int8
	upto, id    int8
	live        bool
	attempts    int8

	ids, expiries int8
	consumer      int8 // who holds it: 0 nobody, otherwise the worker's place + 1
	locked        int8 // who holds the row
	workers       [2]queueWorker
}

type queueMove struct {
	to    queueWorld
	step  queueStep
	fault string
}

// A queueStep is what happens in a move. of is whose step it is: the number of a message, a server or a
// worker, or -1. With a million worlds, a text for each move would cost most of the time.
type queueStep struct {
	what string
	of   int8
}

func (s queueStep) String() string {
	if s.of < 0 {
		return s.what
	}
	return fmt.Sprintf(s.what, s.of)
}

func newQueueWorld() (w queueWorld) {
	w.expiries = 2
	for i := range w.workers {
		w.workers[i] = queueWorker{claims: 2, extend: 1}
	}
	return w
}

// horizon returns the number up to which every message is decided.
func (w *queueWorld) horizon() (h int8) {
	for h < w.drawn && w.messages[h+1] != unsettled {
		h++
	}
	return h
}

// owe adds the committed messages in (from, to] to the row.
func (w *queueWorld) owe(from, to int8) (any bool) {
	for m := from + 1; m <= to; m++ {
		if w.messages[m] != committed {
			continue
		}
		if !w.row {
			w.row, w.first, w.last = true, m, m
		}
		w.last = max(w.last, m)
		any = true
	}
	return any
}

// cover ends the messages of the row up to a number, and keeps the rest.
func (w *queueWorld) cover(upto, last int8) (fault string) {
	for m := w.first; m <= upto; m++ {
		if w.messages[m] != committed {
			continue
		}
		if w.covered[m]++; w.covered[m] > 1 {
			fault = fmt.Sprintf("message %d is answered twice", m)
		}
	}
	if last <= upto {
		w.row, w.first, w.last = false, 0, 0
	} else {
		w.first = upto + 1
	}
	w.upto, w.id, w.live, w.attempts = 0, 0, false, 0
	return fault
}

func (w *queueWorld) bury(rules queueRule) (fault string) {
	upto := w.upto
	if rules&buryTheHandOut == 0 {
		upto = w.last
	}
	for m := w.first; m <= upto; m++ {
		if w.messages[m] == committed && !w.handed[m] {
			return fmt.Sprintf("message %d dies, and nobody has tried it", m)
		}
	}
	return w.cover(upto, w.last)
}

// moves returns everything that can happen next.
func (w queueWorld) moves(rules queueRule) (all []queueMove) {
	add := func(what string, of int8, do func(n *queueWorld) (fault string)) {
		n := w
		fault := do(&n)
		all = append(all, queueMove{n, queueStep{what, of}, fault})
	}
	if w.drawn < queueMessages {
		add("a writer draws", -1, func(n *queueWorld) string {
			n.drawn++
			n.messages[n.drawn] = unsettled
			return ""
		})
	}
	for m := int8(1); m <= w.drawn; m++ {
		if w.messages[m] == unsettled {
			add("commit of %d", m,
				func(n *queueWorld) string { n.messages[m] = committed; return "" })
			add("rollback of %d", m,
				func(n *queueWorld) string { n.messages[m] = rolledBack; return "" })
		}
	}
	for i := range w.at {
		if w.at[i] < w.horizon() {
			add("server %d reads on", int8(i), func(n *queueWorld) string { n.at[i]++; return "" })
		}
	}
	if w.live && w.expiries > 0 {
		add("the lease ends", -1, func(n *queueWorld) string { n.live = false; n.expiries--; return "" })
	}
	if w.row && !w.live && w.attempts >= queueAttempts && w.locked == 0 {
		add("the row is buried", -1, func(n *queueWorld) string { return n.bury(rules) })
	}
	for i := range w.workers {
		me := int8(i + 1)
		do := func(what string, step func(n *queueWorld, p *queueWorker) string) {
			add(what, int8(i),
				func(n *queueWorld) string { return step(n, &n.workers[i]) })
		}
		free := w.locked == 0 || w.locked == me
		switch p := w.workers[i]; p.at {
		case idle:
			if p.claims > 0 {
				do("worker %d begins a claim", func(n *queueWorld, p *queueWorker) string {
					p.claims--
					p.position, p.scanned, p.at = n.at[i], n.scanned, locksConsumer
					if rules&scanToPosition == 0 {
						p.position = n.drawn
					}
					return ""
				})
			}
		case locksConsumer:
			if w.consumer == 0 {
				do("worker %d locks the consumer", func(n *queueWorld, p *queueWorker) string {
					n.consumer = me
					if rules&readScannedLocked != 0 {
						p.scanned = n.scanned
					}
					p.at = looks
					return ""
				})
			}
		case looks:
			do("worker %d looks for rows", func(n *queueWorld, p *queueWorker) string {
				p.occupied, p.at = n.row && rules&leaseOnlyNew != 0, scans
				return ""
			})
		case scans:
			if free {
				do("worker %d scans", func(n *queueWorld, p *queueWorker) string {
					p.at = chooses
					if n.owe(p.scanned, p.position) {
						n.locked = me
						if !p.occupied {
							p.last, p.at = n.last, leases
						}
					}
					p.occupied = false
					if rules&writeGreatest != 0 {
						n.scanned = max(n.scanned, p.position)
					} else {
						n.scanned = p.position
					}
					return ""
				})
			}
		case chooses:
			if free {
				do("worker %d chooses", func(n *queueWorld, p *queueWorker) string {
					if !n.row || n.live || n.attempts >= queueAttempts {
						n.commit(me)
						p.at = idle
						return ""
					}
					p.last = n.last
					p.at = leases
					switch {
					case rules&oneSelect == 0: // has looked, and locks next
						p.at = locksChosen
					case rules&oneTransaction == 0:
						n.commit(me)
					default:
						n.locked = me
					}
					return ""
				})
			}
		case locksChosen:
			if free {
				do("worker %d locks the row", func(n *queueWorld, p *queueWorker) string {
					n.locked = me
					p.at = leases
					return ""
				})
			}
		case leases:
			if !free {
				break
			}
			do("worker %d leases and commits", func(n *queueWorld, p *queueWorker) (fault string) {
				if n.live {
					fault = "a live lease is taken away"
				}
				last := p.last
				if rules&handOutUpToLast == 0 {
					last = n.drawn
				}
				n.upto = 0
				for m := n.first; m <= last; m++ {
					if n.row && n.messages[m] == committed {
						n.handed[m], n.upto = true, m
					}
				}
				n.ids++
				n.id, n.live = n.ids, true
				n.attempts++
				p.id, p.at = n.id, working
				n.commit(me)
				return fault
			})
		case working:
			do("worker %d crashes", func(_ *queueWorld, p *queueWorker) string { p.at = idle; return "" })
			do("worker %d sends a reply", func(n *queueWorld, p *queueWorker) string {
				p.last, p.upto, p.at = n.last, n.upto, fences
				return ""
			})
			if free && w.row && w.id == p.id {
				do("worker %d gives back", func(n *queueWorld, p *queueWorker) string {
					n.id, n.live, p.at = 0, false,
						idle
					return ""
				})
				if p.extend > 0 {
					do("worker %d extends", func(n *queueWorld, p *queueWorker) string {
						n.live = true
						p.extend--
						return ""
					})
				}
			}
		case fences:
			if free {
				do("worker %d locks its wake", func(n *queueWorld, p *queueWorker) string {
					if !n.row || n.upto == 0 || n.id != p.id && rules&fenceByID != 0 {
						p.at = idle // 409
						return ""
					}
					n.locked, p.at = me, ends
					return ""
				})
			}
		case ends:
			do("worker %d ends its wake", func(n *queueWorld, p *queueWorker) (fault string) {
				if n.id != p.id {
					return "a worker answers whose wake is another's"
				}
				last := n.last
				if rules&actLater == 0 {
					last = p.last // as its statement saw the row before it waited
				}
				fault = n.cover(n.upto, last)
				n.commit(me)
				p.at = idle
				return fault
			})
		}
	}
	return all
}

// commit releases the locks of a worker.
func (w *queueWorld) commit(me int8) {
	if w.consumer == me {
		w.consumer = 0
	}
	if w.locked == me {
		w.locked = 0
	}
}

// settled returns the fault of a world in which all is quiet: a message that nobody will answer.
func (w queueWorld) settled(rules queueRule) (fault string) {
	if w.drawn < queueMessages || w.horizon() < w.drawn || w.consumer != 0 || w.locked != 0 {
		return ""
	}
	for range 2 * queueMessages {
		w.live = false
		if w.scanned < w.drawn {
			w.owe(w.scanned, w.drawn)
			w.scanned = w.drawn
		}
		if !w.row {
			break
		}
		upto := w.last
		if w.attempts >= queueAttempts {
			fault = w.bury(rules)
		} else {
			fault = w.cover(upto, w.last)
		}
		if fault != "" {
			return fault
		}
	}
	for m := int8(1); m <= w.drawn; m++ {
		if w.messages[m] == committed && w.covered[m] != 1 {
			return fmt.Sprintf("message %d is lost", m)
		}
	}
	return ""
}

// exploreQueue tries everything that can happen, the shortest stories first. It returns the number of worlds,
// and the story of a fault.
func exploreQueue(rules queueRule) (worlds int, story []string) {
	type origin struct {
		from queueWorld
		step queueStep
	}
	start := newQueueWorld()
	came := map[queueWorld]origin{start: {}}
	tell := func(w queueWorld, last ...string) []string {
		for at := w; at != start; at = came[at].from {
			last = slices.Insert(last, 0, came[at].step.String())
		}
		return last
	}
	for queue := []queueWorld{start}; len(queue) > 0; queue = queue[1:] {
		w := queue[0]
		for _, m := range w.moves(rules) {
			if m.fault != "" {
				return len(came), tell(w, m.step.String(), "FAULT: "+m.fault)
			}
			if _, seen := came[m.to]; !seen {
				came[m.to] = origin{w, m.step}
				queue = append(queue, m.to)
			}
		}
		if fault := w.settled(rules); fault != "" {
			return len(came), tell(w, "FAULT: "+fault)
		}
	}
	return len(came), nil
}

// Rules 26 to 34: in every order of the steps, each message is answered once, none is lost, no live lease is
// taken away, no replaced worker answers, and no message dies untried.
func TestModelOfTheQueueHolds(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	worlds, story := exploreQueue(allQueueRules)
	if t.Logf("%d worlds", worlds); story != nil {
		t.Errorf("one of %d worlds breaks a promise:\n%s", worlds, strings.Join(story, "\n"))
	}
	if worlds < 10_000 {
		t.Error("these are too few worlds to prove anything")
	}
}

// Without any one of its rules the queue fails, and the model shows how. Rules that the model does not have
// are held by tests on a real Postgres; db/README.md names them.
func TestModelOfTheQueueCatchesEachFault(t *testing.T) {
	t.Parallel()
	for rule, name := range queueRuleNames {
		t.Run("without: "+name, func(t *testing.T) {
			t.Parallel()
			_, story := exploreQueue(allQueueRules &^ rule)
			if story == nil {
				t.Fatal("no order of the steps breaks a promise")
			}
			t.Log("\n" + strings.Join(story, "\n"))
		})
	}
}
