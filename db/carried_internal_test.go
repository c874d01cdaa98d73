package db

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"fabric-guild/events"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
)

// fill sets every exported field of v to a value that no other field has.
func fill(t *testing.T, v reflect.Value, next *int64) {
	t.Helper()
	*next++
	switch x := v.Addr().Interface().(type) {
	case *uuid.UUID:
		*x = uuid.NewSHA1(uuid.Nil, fmt.Append(nil, *next))
		return
	case *events.Time:
		x.Time = time.UnixMicro(1_700_000_000_000_000 + *next)
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *next))
	case reflect.Int64:
		v.SetInt(*next)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(t, v.Index(i), next)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), next)
	case reflect.Struct:
		for _, f := range reflect.VisibleFields(v.Type()) {
			if f.IsExported() {
				fill(t, v.FieldByIndex(f.Index), next)
			}
		}
	default:
		t.Fatalf("a field of kind %v: teach this test and carrier about it", v.Kind())
	}
}

func filled(t *testing.T) *events.Event {
	t.Helper()
	e := new(events.Event)
	fill(t, reflect.ValueOf(e).Elem(), new(int64))
	return e
}

var sameEvents = cmp.Options{cmpopts.IgnoreUnexported(events.Event{}, events.Message{})}

// A field of an event or a message that is not carried would be lost on all servers but one.
func TestACarriedEventHasEveryField(t *testing.T) {
	t.Parallel()
	full := filled(t)
	empty := &events.Event{
		Cursor:  events.Cursor{Epoch: 1, Seq: 2},
		Message: &events.Message{MentionUserIDs: []string{}},
	}
	empty.OccurredAt.Time = time.UnixMicro(1)
	empty.Message.CreatedAt.Time = time.UnixMicro(1)
	bare := happened(1, 3, 1)
	want := []*events.Event{full, empty, bare, full}
	var text []byte
	for _, e := range want {
		text = append(text, encodeEvent(e)...)
	}
	got := decodeEvents(string(text))
	if diff := cmp.Diff(want, got, sameEvents); diff != "" {
		t.Errorf("-sent +carried:\n%s", diff)
	}
	// What is not exported must be what this server can make by itself.
	for typ, made := range map[reflect.Type]string{
		reflect.TypeFor[events.Event]():   "frames",
		reflect.TypeFor[events.Message](): "facts",
	} {
		for _, f := range reflect.VisibleFields(typ) {
			if !f.IsExported() && f.Name != made {
				t.Errorf("the field %v.%s is not exported: is it carried?", typ, f.Name)
			}
		}
	}
	if diff := cmp.Diff(full.Message.Facts(), got[0].Message.Facts()); diff != "" {
		t.Errorf("the facts: -sent +carried:\n%s", diff)
	}
}

// A server without a database, in epoch 7, which others hear.
func aServer() *DB {
	d := &DB{Doorbell: newDoorbell()}
	d.unanswered.Store(helloMissed) // it may have others to tell
	d.known.events = map[int64]*events.Event{}
	d.epoch.Store(7)
	d.sealed.latest.Store(newSeal(7, []byte(strings.Repeat("k", 32))))
	return d
}

// What was cut, changed, or sent by somebody who does not know the secret says only that the event log may
// have grown. It never makes a server fail.
func TestOnlySealedLettersAreBelieved(t *testing.T) {
	t.Parallel()
	d, other := aServer(), aServer()
	var heard []string // what d believes
	d.OnWake(func(user string) { heard = append(heard, user) })
	d.OnSignal(func(s *events.Signal) { heard = append(heard, s.UserID) })
	d.OnClosed(func(id [sessionBytes]byte) { heard = append(heard, string(id[:])) })
	hear := func(payload string) []string {
		heard = nil
		select {
		case <-d.here:
		default:
		}
		d.hears(t.Context(), payload)
		run, _, _ := d.known.after(events.Cursor{Epoch: 7, Seq: 7}, 10)
		clear(d.known.events)
		for _, e := range run {
			heard = append(heard, e.Message.ID.String())
		}
		return heard
	}
	e := filled(t)
	e.Cursor = events.Cursor{Epoch: 7, Seq: 8}
	note := events.Signal{Event: events.Activity, UserID: "alice", At: e.Cursor, Data: []byte(`{}`)}
	texts := map[byte]string{
		letterEvents: string(encodeEvent(e)), letterSignals: string(note.Encode()), letterWakes: "alice ",
		letterSessions: "0123456789abcdef",
	}
	rng := rand.New(rand.NewPCG(1, 2))
	own := newSeal(7, []byte(strings.Repeat("k", 32)))
	stranger := newSeal(7, []byte(strings.Repeat("x", 32)))
	for kind, text := range texts {
		good := own.close(other.node, kind, []byte(text))
		if got := hear(good); len(got) != 1 {
			t.Fatalf("%c: got %q of a good letter, want one", kind, got)
		}
		bad := map[string]string{
			"nothing":         other.node,
			"short":           "x",
			"empty":           "",
			"no base64":       other.node + string(kind) + "hello!",
			"not sealed":      other.node + string(kind) + text,
			"the older form":  other.node + text,
			"another secret":  stranger.close(other.node, kind, []byte(text)),
			"another server":  uuid.NewString() + good[nodeLength:],
			"an unknown kind": own.close(other.node, 'x', []byte(text)),
			"half a text":     own.close(other.node, letterEvents, []byte(text[:len(text)/2])),
		}
		for other := range texts {
			if other != kind {
				bad["another kind "+string(other)] = good[:nodeLength] + string(other) + good[nodeLength+1:]
			}
		}
		for name, payload := range bad {
			if got := hear(payload); len(got) != 0 {
				t.Errorf("%c, %s: got %q, want nothing", kind, name, got)
			}
		}
		for range 500 {
			flipped := []byte(good)
			flipped[rng.IntN(len(flipped)-1)] ^= 1 << rng.IntN(8) // the last bits of base64 may mean nothing
			if got := hear(string(flipped)); len(got) != 0 {
				t.Fatalf("%c: got %q of a letter in which a bit changed, want nothing", kind, got)
			}
			if got := hear(good[:rng.IntN(len(good))]); len(got) != 0 {
				t.Fatalf("%c: got %q of a part of a letter, want nothing", kind, got)
			}
		}
	}
	// Whoever knows the secret may still be another version.
	text := encodeEvent(e)
	for range 1000 {
		changed := append([]byte{}, text...)
		changed[rng.IntN(len(text))] ^= 1 << rng.IntN(8)
		decodeEvents(string(changed[:rng.IntN(len(text))]))
		decodeEvents(string(changed))
	}
	for _, epoch := range []int64{6, 8} {
		e.Cursor.Epoch = epoch
		d.hears(t.Context(), own.close(other.node, letterEvents, encodeEvent(e)))
		if d.known.events[e.Cursor.Seq] != nil {
			t.Errorf("got an event of epoch %d with the seal of epoch 7", epoch)
		}
	}
	if s := newSeal(7, nil); s.aead != nil {
		t.Error("got a seal without a secret")
	}
}

// Waiting events are bounded, and each letter fits into a notification.
func TestRingsFitIntoNotifications(t *testing.T) {
	t.Parallel()
	d, other := aServer(), aServer()
	e := filled(t)
	e.Cursor.Epoch = 7
	sent := 0
	for size := range 9000 {
		e.Message.Content = strings.Repeat("x", size*7%9000)
		d.carry(e)
		if size%40 != 0 {
			continue
		}
		if d.outgoing.bytes > carriedBytes {
			t.Fatalf("got %d bytes that wait, want %d at most", d.outgoing.bytes, carriedBytes)
		}
		for _, payload := range d.rings(t.Context()) {
			if len(payload) > 7999 {
				t.Fatalf("got a payload of %d bytes", len(payload))
			}
			sent += len(decodeEvents(other.open(t.Context(), payload).text))
		}
	}
	if sent < 1000 {
		t.Errorf("got %d events carried, want most of the small ones", sent)
	}
	e.Message.Content = "of an old epoch"
	e.Cursor.Epoch = 6
	d.carry(e)
	e.Cursor.Epoch = 7
	d.carry(e)
	if epoch, texts, more := d.outgoing.take(); !more || epoch != 7 || len(texts) != 1 {
		t.Errorf("got %d events of epoch %d, want the one of the new epoch", len(texts), epoch)
	}
	if epoch, texts, more := d.outgoing.take(); more || len(texts) != 0 {
		t.Errorf("got %d events of epoch %d again", len(texts), epoch)
	}
}

// Sending and hearing an event costs few allocations: each server hears every post, also those that nobody
// there reads.
func TestACarriedEventAllocatesLittle(t *testing.T) {
	d, other := aServer(), aServer()
	e := happened(7, 1, 1)
	e.Message = &events.Message{Content: strings.Repeat("x", 200)}
	sender := testing.AllocsPerRun(100, func() {
		d.carry(e)
		d.rings(t.Context())
	})
	d.carry(e)
	ring := d.rings(t.Context())[0]
	hearer := testing.AllocsPerRun(100, func() { other.hears(t.Context(), ring) })
	t.Logf("%v allocations to send, %v to hear", sender, hearer)
	if sender > 14 || hearer > 14 {
		t.Errorf("got %v allocations to send and %v to hear, want 14 at most", sender, hearer)
	}
}

func BenchmarkHearing(b *testing.B) {
	d, other := aServer(), aServer()
	e := happened(7, 1, 1)
	e.Message = &events.Message{Content: strings.Repeat("x", 200)}
	d.carry(e)
	ring := d.rings(b.Context())[0]
	b.ReportAllocs()
	for b.Loop() {
		other.hears(b.Context(), ring)
		other.known.after(events.Cursor{Epoch: 7}, 1000)
	}
}
