package db_test

import (
	"fmt"
	"math/bits"
)

// This file models how numbers are drawn and read (migrations/00001_create_log.sql: draw_seq and
// log_horizon). The model is small enough to try every order in which writers and a reader can take their
// steps. The code is a list of steps for each of them. Beside it, for every rule, there is a list that breaks
// the rule.
//
// A step is atomic. Between two steps of one of them, any other one may take a step.

// A step is done at once; between two of them anybody else may take theirs.
type step uint8

const (
	// Steps of a writer.
	look       step = iota // key := the last number drawn
	lookAhead              // as look, but the number may be in the future: SELECT last_value FROM events_seq
	lookOwn                // key := the number that the writer expects to draw
	lock                   // holds key
	draw                   // takes the next number
	drawCached             // takes the next of two numbers that its backend reserved together
	rollbackTo             // a savepoint before the first append: its number is gone, its lock is released
	unlock                 // releases its locks before the end
	end                    // commits or rolls back; a commit is on disk before it is visible
	endUnsafe              // as end, but a commit is on disk later: synchronous_commit = off
	flush                  // the commit is on disk
	release                // releases its locks, after the end
	// Steps of the reader. After the last of them, in whatever order, it has a page.
	readLast      // last := the last number drawn
	readLastAhead // as readLast, but the number may be in the future
	readKeys      // least := the smallest key held
	readRows      // the committed numbers
	readRowsBare  // as readRows, and the horizon itself becomes a cursor
)

// A protocol lists the steps of a writer's transaction, and those of a reader's page.
type protocol struct {
	writer, reader []step
	told           telling
}

// telling says what a reader does when it hears of numbers, between two pages.
type telling uint8

const (
	untold       telling = iota // it hears of none
	follows                     // it takes the numbers that follow its cursor without a gap
	leaps                       // it takes any later number
	hearsTooSoon                // as follows, but a writer tells before it commits
)

// theCode appends one event in each transaction, and theCodeTwice two. theCodeGroup draws two numbers under
// one lock, as post_messages does.
var (
	theCode = protocol{
		writer: []step{look, lock, draw, end, release},
		reader: []step{readLast, readKeys, readRows},
	}
	theCodeTwice = protocol{
		writer: []step{look, lock, draw, look, lock, draw, end, release},
		reader: theCode.reader,
	}
	theCodeGroup = protocol{
		writer: []step{look, lock, draw, draw, end, release},
		reader: theCode.reader,
	}
	theCodeTold      = protocol{theCode.writer, theCode.reader, follows}
	theCodeTwiceTold = protocol{theCodeTwice.writer, theCode.reader, follows}
	theCodeGroupTold = protocol{theCodeGroup.writer, theCode.reader, follows}
)

var brokenProtocols = map[string]protocol{
	"the naive order: whatever is committed": {
		theCode.writer,
		[]step{readLast, readRows},
		untold,
	},
	"the number is drawn before the lock is taken": {
		[]step{draw, look, lock, end, release},
		theCode.reader, untold,
	},
	"the key is the writer's own number, not the last": {
		[]step{lookOwn, lock, draw, end, release},
		theCode.reader, untold,
	},
	"last_value runs ahead of the writer": {
		[]step{lookAhead, lock, draw, end, release},
		theCode.reader, untold,
	},
	"last_value runs ahead of the reader": {
		theCode.writer,
		[]step{readLastAhead, readKeys, readRows},
		untold,
	},
	"a sequence with a cache": {
		[]step{look, lock, drawCached, end, release},
		theCode.reader, untold,
	},
	"one lock for two appends, and a savepoint " +
		"between": {[]step{look, lock, draw, rollbackTo, draw, end, release}, theCode.reader, untold},
	"the lock is released before the end": {
		[]step{look, lock, draw, unlock, end, release},
		theCode.reader, untold,
	},
	"the rows are read before the keys": {
		theCode.writer,
		[]step{readLast, readRows, readKeys},
		untold,
	},
	"the smallest key is read before the last number": {
		theCode.writer,
		[]step{readKeys, readLast, readRows},
		untold,
	},
	"one snapshot for all three, as in REPEATABLE READ": {
		theCode.writer,
		[]step{readRows, readLast, readKeys},
		untold,
	},
	"what is seen may still vanish in a crash": {
		[]step{look, lock, draw, endUnsafe, release, flush}, theCode.reader, untold,
	},
	"a bare horizon is a cursor, and a crash comes then": {
		theCode.writer,
		[]step{readLast, readKeys, readRowsBare},
		untold,
	},
	"a number beyond a gap is taken":         {theCode.writer, theCode.reader, leaps},
	"a reader hears of it before the commit": {theCode.writer, theCode.reader, hearsTooSoon},
}

const (
	modelWriters = 4
	noKey        = 63 // above every number, which are bits in a word
)

// A world is the state of the model. It is comparable, so that a search can skip worlds that it has seen.
type world struct {
	seq     int8   // the last number drawn
	visible uint64 // the numbers that are committed, and of them
	durable uint64 // those on disk
	writers [modelWriters]writer
	told    uint64 // the numbers that a notification may name, now or later, once or more often
	reader  reader
	crashes int8 // crashes that may still happen
}

type writer struct {
	left   int8   // transactions still to do, this one included
	at     int8   // its next step
	key    int8   // what it looked up
	keys   uint64 // keys that it holds
	drawn  uint64 // numbers that this transaction has drawn
	cached int8   // a number that its backend holds back; 0: none
}

type reader struct {
	at     int8 // its next step
	last   int8
	least  int8
	rows   uint64
	known  uint64 // numbers beyond a gap that it heard of
	cursor int8   // given to clients: everything up to here has been read
	passed int8   // the greatest horizon so far: everything up to here is decided
}

// A move leads from one world to another. fault says which promise the move breaks.
type move struct {
	to          world
	what, fault string
}

func upTo(n int8) uint64 { return 1<<(n+1) - 1 }

func highest(set uint64) int8 { return int8(63 - bits.LeadingZeros64(set|1)) }

func (p protocol) start(writers, transactions, crashes int) world {
	w := world{crashes: int8(crashes)}
	w.reader.least = noKey
	for i := range writers {
		w.writers[i].left = int8(transactions)
	}
	return w
}

// moves returns everything that can happen next.
func (p protocol) moves(w world) []move {
	out := append(p.readerMoves(w), p.toldMoves(w)...)
	for i := range w.writers {
		if w.writers[i].left > 0 {
			out = append(out, p.writerMoves(w, i)...)
		}
	}
	if w.crashes > 0 {
		out = append(out, p.crash(w, w.seq), p.crash(w, highest(w.durable)))
	}
	return out
}

func (p protocol) writerMoves(w world, i int) (out []move) {
	me := &w.writers[i]
	does := p.writer[me.at]
	if me.at++; int(me.at) == len(p.writer) {
		me.at, me.left = 0, me.left-1
	}
	say := func(format string, args ...any) []move {
		return append(out, move{to: w, what: fmt.Sprintf("writer %d ", i+1) + fmt.Sprintf(format, args...)})
	}
	switch does {
	case look:
		me.key = w.seq
		return say("looks: the last number is %d", me.key)
	case lookAhead:
		me.key = w.seq + 2
		return say("looks: the last number seems to be %d", me.key)
	case lookOwn:
		me.key = w.seq + 1
		return say("looks: it is going to draw %d", me.key)
	case lock:
		key := me.key
		me.keys, me.key = me.keys|1<<key, 0
		return say("locks %d", key)
	case draw:
		w.seq++
		me.drawn |= 1 << w.seq
		if p.told == hearsTooSoon {
			w.told |= me.drawn
		}
		return say("draws %d", w.seq)
	case drawCached:
		n := me.cached
		if me.cached = 0; n == 0 {
			n, me.cached, w.seq = w.seq+1, w.seq+2, w.seq+2
		}
		me.drawn |= 1 << n
		return say("draws %d", n)
	case rollbackTo:
		me.drawn, me.keys = 0, 0
		return say("rolls back to its savepoint")
	case unlock, release:
		me.keys = 0
		return say("releases its locks")
	case flush:
		w.durable = w.visible
		return say("is on disk")
	case end, endUnsafe:
		drawn := me.drawn
		me.drawn = 0
		out = say("rolls back %v", numbers(drawn))
		w.visible |= drawn
		if p.told != untold {
			w.told |= drawn
		}
		if does == end {
			w.durable |= drawn
		}
		out = say("commits %v", numbers(drawn))
		if late := drawn & upTo(w.reader.passed); late != 0 {
			out[1].fault = fmt.Sprintf("%v is committed after the reader has passed %d", numbers(late),
				w.reader.passed)
		}
		return out
	}
	panic("not a writer's step")
}

func (p protocol) readerMoves(w world) []move {
	r := &w.reader
	m := move{}
	switch p.reader[r.at] {
	case readLast:
		r.last = w.seq
		m.what = fmt.Sprintf("the reader looks: the last number is %d", r.last)
	case readLastAhead:
		r.last = w.seq + 2
		m.what = fmt.Sprintf("the reader looks: the last number seems to be %d", r.last)
	case readKeys:
		r.least = noKey
		for _, writer := range w.writers {
			if writer.keys != 0 {
				r.least = min(r.least, int8(bits.TrailingZeros64(writer.keys)))
			}
		}
		if m.what = "the reader finds no key held"; r.least != noKey {
			m.what = fmt.Sprintf("the reader finds %d to be the smallest key held", r.least)
		}
	case readRows, readRowsBare:
		r.rows = w.visible
		m.what = fmt.Sprintf("the reader reads the rows %v", numbers(r.rows))
	}
	if r.at++; int(r.at) == len(p.reader) {
		horizon := min(r.last, r.least)
		m.what += fmt.Sprintf(", and takes them up to %d", horizon)
		if missed := w.visible & upTo(horizon) &^ upTo(r.cursor) &^ r.rows; missed != 0 {
			m.fault = fmt.Sprintf("%v is passed and was not read", numbers(missed))
		}
		r.cursor = max(r.cursor, highest(r.rows&upTo(horizon)))
		r.passed = max(r.passed, horizon)
		if p.reader[len(p.reader)-1] == readRowsBare {
			r.cursor = r.passed
		}
		r.at, r.last, r.least, r.rows = 0, 0, noKey, 0
		r.known &^= upTo(r.passed)
	}
	m.to = w
	return []move{m}
}

// toldMoves returns the moves in which the reader hears of a number. A number that it never hears of is a
// notification that is lost.
func (p protocol) toldMoves(w world) (out []move) {
	if w.reader.at != 0 {
		return nil
	}
	for _, n := range numbers(w.told) {
		out = append(out, p.tell(w, int8(n)))
	}
	return out
}

func (p protocol) tell(w world, n int8) move {
	r := &w.reader
	m := move{what: fmt.Sprintf("the reader hears of %d", n)}
	if n > r.cursor {
		r.known |= 1 << n
	}
	for next := r.cursor + 1; next <= w.seq; next++ {
		if r.known&(1<<next) == 0 {
			if p.told == leaps {
				continue
			}
			break
		}
		if missed := w.visible & upTo(next-1) &^ upTo(r.cursor); missed != 0 {
			m.fault = fmt.Sprintf("%v is passed and was not read", numbers(missed))
		}
		if w.visible&(1<<next) == 0 {
			m.fault = fmt.Sprintf("%d is taken and is not committed", next)
		}
		r.cursor = next
	}
	r.known &^= upTo(r.cursor)
	r.passed = max(r.passed, r.cursor)
	m.to = w
	return m
}

// crash removes what was not committed, and what was committed but not on disk. The sequence may fall back
// over numbers that no commit has brought to disk. The reader keeps only its cursor, because clients have it.
func (p protocol) crash(w world, seq int8) move {
	// a notification names the epoch; known_internal_test.go has lives that lose what was committed
	w.told = 0
	w.crashes--
	w.seq, w.visible = seq, w.durable
	for i, writer := range w.writers {
		w.writers[i] = writer.gone()
	}
	w.reader = reader{least: noKey, cursor: w.reader.cursor, passed: w.reader.cursor}
	return move{to: w, what: fmt.Sprintf("a crash; the last number is %d now", seq)}
}

// gone is a writer after a crash. It continues with its next transaction.
func (w writer) gone() writer {
	if w.at > 0 {
		w.left--
	}
	return writer{left: w.left}
}

func numbers(set uint64) []int {
	out := []int{}
	for ; set != 0; set &= set - 1 {
		out = append(out, bits.TrailingZeros64(set))
	}
	return out
}
