package db

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"fabric-guild/events"
)

// A lives is a model of a database with its lives, and of a server that reads its event log or hears of
// events. Notifications arrive in any order, late, several times or never, also in a later life.
type lives struct {
	rng     *rand.Rand
	known   *known
	take    func(k *known, at events.Cursor) []*events.Event
	early   bool                              // a server tells of an event before it is committed
	logs    map[int64]map[int64]*events.Event // by epoch: what is committed
	epoch   int64
	bases   map[int64]int64 // by epoch
	last    int64           // the last number that was given out
	open    []*events.Event // drawn and not decided
	notices []*events.Event // sent at some time

	// told: each notification arrives once, one without an event too, and the server reads only if it must.
	told   bool
	silent bool // nobody tells of what must be read
	cut    bool // a page that is full leaves no note that there may be more

	at    events.Cursor
	clock int64
	shown map[int64]*events.Event // what streams have seen in this life, as the server knows it
	fault string
}

func newLives(seed uint64) *lives {
	x := &lives{
		rng: rand.New(rand.NewPCG(seed, 1)), known: &known{events: map[int64]*events.Event{}},
		logs: map[int64]map[int64]*events.Event{1: {}}, epoch: 1, bases: map[int64]int64{},
		at: events.Cursor{Epoch: 1}, shown: map[int64]*events.Event{},
	}
	x.take = func(k *known, at events.Cursor) []*events.Event {
		run, _, _ := k.after(at, 1+x.rng.IntN(4))
		return run
	}
	return x
}

func (x *lives) step() {
	switch x.rng.IntN(12) {
	case 0, 1, 2: // a transaction draws a number
		x.last++
		x.clock++
		e := happened(x.epoch, x.last, x.clock)
		if x.rng.IntN(6) == 0 {
			e.Kind = events.MessageUpdated // must be read
		} else if x.early {
			x.notices = append(x.notices, e)
		}
		x.open = append(x.open, e)
	case 3, 4, 5:
		x.end()
	case 6, 7, 8:
		if x.told {
			x.deliver()
		} else if n := len(x.notices); n > 0 {
			recent := min(n, 1+x.rng.IntN(10))
			e := x.notices[n-1-x.rng.IntN(recent)]
			if e.Kind == "" {
				break // the server does not hear of it, or has read meanwhile
			}
			x.known.add(e)
		}
	case 9, 10:
		if x.told {
			x.look(1 + x.rng.IntN(4))
			break
		}
		for _, e := range x.take(x.known, x.at) {
			x.show(e)
		}
	default:
		if x.told {
			break
		}
		if x.rng.IntN(3) > 0 {
			x.read()
		} else if x.rng.IntN(10) == 0 {
			x.failOver()
		}
	}
}

// end ends a transaction.
func (x *lives) end() {
	if len(x.open) == 0 {
		return
	}
	i := x.rng.IntN(len(x.open))
	e := x.open[i]
	x.open = append(x.open[:i:i], x.open[i+1:]...)
	if x.rng.IntN(6) == 0 { // it rolled back
		x.notices = append(x.notices, &events.Event{})
		return
	}
	x.logs[x.epoch][e.Cursor.Seq] = e
	if x.at.Epoch == x.epoch && e.Cursor.Seq <= x.at.Seq {
		x.fault = fmt.Sprintf("%d is committed after the server has passed it", e.Cursor.Seq)
	}
	if e.Kind == events.ChannelUpdated {
		x.notices = append(x.notices, e)
	} else {
		x.notices = append(x.notices, &events.Event{})
	}
}

// deliver takes a notification out of those that are on the way. One that has no event says that the log
// must be read.
func (x *lives) deliver() {
	if len(x.notices) == 0 {
		return
	}
	i := x.rng.IntN(min(4, len(x.notices)))
	e := x.notices[i]
	x.notices = append(x.notices[:i:i], x.notices[i+1:]...)
	if e.Kind != "" {
		x.known.add(e)
	} else if !x.silent {
		x.known.suspect()
	}
}

// look takes what is known, and reads if it must. It reports whether there was something to do.
func (x *lives) look(limit int) bool {
	run, pending, unread := x.known.after(x.at, limit)
	for _, e := range run {
		x.show(e)
	}
	if unread || pending && len(run) == 0 {
		x.read()
	}
	return len(run) > 0 || unread || pending
}

// failOver begins a life that lacks the end of the log. Its numbers are given out again.
func (x *lives) failOver() {
	x.open = nil
	survived := map[int64]*events.Event{}
	cut := x.last - int64(x.rng.IntN(4))
	base := int64(0)
	for seq, e := range x.logs[x.epoch] {
		if seq <= cut {
			survived[seq] = e
			base = max(base, seq)
		}
	}
	x.epoch++
	x.last = base
	x.bases[x.epoch] = base
	x.logs[x.epoch] = survived
}

// read reads a page of the rows, as tailRows and the router do.
func (x *lives) read() {
	horizon := x.last
	for _, e := range x.open {
		horizon = min(horizon, e.Cursor.Seq-1)
	}
	if x.at.Epoch != x.epoch {
		base := x.last
		for epoch := x.at.Epoch + 1; epoch <= x.epoch; epoch++ {
			base = min(base, x.bases[epoch])
		}
		if x.at.Seq > base { // the streams are reset
			maps.DeleteFunc(x.shown, func(seq int64, _ *events.Event) bool { return seq > base })
			x.at.Seq = base
		}
		x.at.Epoch = x.epoch
	}
	var found []*events.Event
	for seq := x.at.Seq + 1; seq <= horizon && len(found) < 5; seq++ {
		if e := x.logs[x.epoch][seq]; e != nil {
			found = append(found, happened(x.epoch, seq, e.OccurredAt.UnixMicro()))
		}
	}
	x.known.ask()
	x.known.read(x.epoch, horizon, x.last, found, len(found) == 5 && !x.cut)
	for _, e := range found {
		x.show(e)
	}
}

// show checks that e is what follows in the log of the epoch that the server is in.
func (x *lives) show(e *events.Event) {
	log := x.logs[x.at.Epoch]
	stored, committed := log[e.Cursor.Seq]
	switch {
	case e.Cursor.Seq <= x.at.Seq:
		x.fault = fmt.Sprintf("%d is shown after %d", e.Cursor.Seq, x.at.Seq)
	case !committed:
		x.fault = fmt.Sprintf("%d is shown and is not in the log of its life", e.Cursor.Seq)
	case !stored.OccurredAt.Equal(e.OccurredAt.Time):
		x.fault = fmt.Sprintf("%d is shown as another event", e.Cursor.Seq)
	}
	for seq := x.at.Seq + 1; seq < e.Cursor.Seq; seq++ {
		if _, committed := log[seq]; committed {
			x.fault = fmt.Sprintf("%d is passed and was not shown", seq)
		}
	}
	x.at.Seq = e.Cursor.Seq
	x.shown[e.Cursor.Seq] = stored
}

// run takes random steps, and then reads to the end.
func (x *lives) run(steps int) string {
	for range steps {
		if x.step(); x.fault != "" {
			return x.fault
		}
	}
	for len(x.open) > 0 {
		x.end()
	}
	for len(x.notices) > 0 && x.told {
		x.deliver()
	}
	for range steps {
		if !x.told {
			x.read()
		} else if !x.look(10) {
			break
		}
	}
	log := x.logs[x.epoch]
	for seq, e := range log {
		if x.shown[seq] != e || len(x.shown) != len(log) {
			return fmt.Sprintf("%d events were shown, %d are in the log", len(x.shown), len(log))
		}
	}
	return x.fault
}

// A notification that is lost, late, doubled, out of order or of another life costs no event and doubles
// none.
func TestKnownEventsFollowTheLog(t *testing.T) {
	t.Parallel()
	for range 500 {
		seed := rand.Uint64()
		if fault := newLives(seed).run(400); fault != "" {
			t.Fatalf("with seed %d: %s", seed, fault)
		}
	}
}

// If each notification arrives, in whatever order, a server shows every event without a poll.
func TestNoPollIsNeededIfEveryRingArrives(t *testing.T) {
	t.Parallel()
	for range 200 {
		seed := rand.Uint64()
		x := newLives(seed)
		x.told = true
		if fault := x.run(400); fault != "" {
			t.Fatalf("with seed %d: %s", seed, fault)
		}
	}
}

// The model finds the fault of each way to break the rule.
func TestKnownEventsFindFaults(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(x *lives){
		"over a gap": func(x *lives) {
			x.take = func(k *known, at events.Cursor) (run []*events.Event) {
				for next := at.Seq + 1; next < at.Seq+4; next++ {
					if e := k.events[next]; e != nil && e.Cursor.Epoch == at.Epoch {
						return []*events.Event{e}
					}
				}
				return nil
			}
		},
		"of another epoch": func(x *lives) {
			x.take = func(k *known, at events.Cursor) (run []*events.Event) {
				if e := k.events[at.Seq+1]; e != nil {
					return []*events.Event{e}
				}
				return nil
			}
		},
		"again": func(x *lives) {
			x.take = func(k *known, at events.Cursor) (run []*events.Event) {
				if e := k.events[at.Seq]; e != nil && e.Cursor == at {
					return []*events.Event{e}
				}
				return nil
			}
		},
		"before the commit":                   func(x *lives) { x.early = true },
		"nobody tells of what is not carried": func(x *lives) { x.told, x.silent = true, true },
		"the rest of a page is forgotten":     func(x *lives) { x.told, x.cut = true, true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(2000) {
				x := newLives(seed)
				change(x)
				if fault := x.run(400); fault != "" {
					t.Log(fault)
					return
				}
			}
			t.Error("no fault was found")
		})
	}
}

func happened(epoch, seq, at int64) *events.Event {
	return &events.Event{
		Cursor: events.Cursor{Epoch: epoch, Seq: seq}, Kind: events.ChannelUpdated,
		OccurredAt: events.Time{Time: time.UnixMicro(at)},
	}
}

// Late copies of what was taken change nothing. If a number at or below the position names another event,
// only a read can tell which one counts.
func TestALateEventIsReadIfItIsAnotherOne(t *testing.T) {
	t.Parallel()
	at := events.Cursor{Epoch: 1, Seq: 2}
	fresh := func() *known {
		k := &known{events: map[int64]*events.Event{}}
		k.add(happened(1, 1, 1), happened(1, 2, 2))
		if run, _, _ := k.after(events.Cursor{Epoch: 1}, 10); len(run) != 2 {
			t.Fatalf("got %d events, want two", len(run))
		}
		return k
	}
	for _, tt := range []struct {
		name string
		late []*events.Event
		want int
	}{
		{"the same", []*events.Event{happened(1, 2, 2), happened(1, 1, 1), happened(1, 3, 3)}, 1},
		{"another event", []*events.Event{happened(1, 2, 9), happened(1, 3, 3)}, 0},
		{"another event of an older epoch", []*events.Event{happened(0, 2, 9), happened(1, 3, 3)}, 1},
		{"two events with the next number", []*events.Event{happened(1, 3, 3), happened(1, 3, 4)}, 0},
		{"an older epoch after a newer one", []*events.Event{happened(1, 3, 3), happened(0, 3, 9)}, 1},
		{"a newer epoch", []*events.Event{happened(1, 3, 3), happened(2, 3, 9)}, 0},
	} {
		k := fresh()
		k.add(tt.late...)
		if run, _, unread := k.after(at, 10); len(run) != tt.want || unread != (tt.want == 0) {
			t.Errorf("%s: got %d events without a read, want %d; a read is needed: %v", tt.name, len(run),
				tt.want, unread)
		}
	}

	k := fresh()
	k.since = time.Now().Add(-2 * knownFor)
	k.add(happened(1, 3, 3))
	if run, _, unread := k.after(at, 10); len(run) != 1 || !unread {
		t.Errorf("long after the last read: got %d events, and that a read is needed: %v", len(run), unread)
	}
	k.ask()
	k.read(1, 3, 3, nil, false)
	k.add(happened(1, 4, 4))
	if run, _, unread := k.after(events.Cursor{Epoch: 1, Seq: 3}, 10); len(run) != 1 || unread {
		t.Errorf("after a read: got %d events, and that a read is needed: %v", len(run), unread)
	}

	k.ask()
	k.read(1, 9, 9, []*events.Event{happened(1, 5, 5)}, true)
	k.add(happened(1, 6, 6))
	if run, _, unread := k.after(events.Cursor{Epoch: 1, Seq: 5}, 10); len(run) != 1 || !unread {
		t.Errorf("after a full page: got %d events, and that a read is needed: %v", len(run), unread)
	}
}

// A server whose tailer takes nothing keeps a bounded number of events, in bounded memory.
func TestKnownEventsAreBounded(t *testing.T) {
	t.Parallel()
	k := &known{events: map[int64]*events.Event{}}
	for seq := range int64(3 * knownEvents) {
		e := happened(1, seq, 1)
		e.Message = &events.Message{Content: string(make([]byte, seq%(64<<10)))}
		k.add(e)
		size := 0
		if seq%1000 == 0 {
			for _, e := range k.events {
				size += e.Size()
			}
			if len(k.events) > knownEvents || size > knownBytes || size != k.bytes {
				t.Fatalf("got %d events of %d bytes, counted as %d", len(k.events), size, k.bytes)
			}
		}
	}
}
