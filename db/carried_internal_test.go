package db

import (
	"encoding/base64"
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
	want := []*events.Event{full, empty, full}
	got := decodeEvents(string(encodeEvent(full)) + string(encodeEvent(empty)) + string(encodeEvent(full)))
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

// A notification that was cut, changed or sent by somebody else has no events. It never makes a server fail.
func TestAMalformedRingCarriesNothing(t *testing.T) {
	t.Parallel()
	secret := []byte(strings.Repeat("k", 32))
	e := filled(t)
	e.Cursor = events.Cursor{Epoch: 7, Seq: 8}
	good := newSeal(7, secret).close("node", encodeEvent(e))
	if got := newSeal(7, secret).open("node", good); len(got) != 1 {
		t.Fatalf("got %d events of a good ring, want one", len(got))
	}
	raw, err := base64.RawStdEncoding.DecodeString(good)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		bad := append([]byte{}, raw...)
		bad[rng.IntN(len(bad))] ^= 1 << rng.IntN(8)
		if got := newSeal(7, secret).open("node", base64.RawStdEncoding.EncodeToString(bad)); got != nil {
			t.Fatalf("got %d events of a ring in which a bit changed, want none", len(got))
		}
		if got := newSeal(7, secret).open("node", good[:rng.IntN(len(good))]); got != nil {
			t.Fatalf("got %d events of a part of a ring, want none", len(got))
		}
		// Whoever knows the secret may still be a newer version.
		text := encodeEvent(e)
		text[rng.IntN(len(text))] ^= 1 << rng.IntN(8)
		decodeEvents(string(text[:rng.IntN(len(text))]))
		decodeEvents(string(text))
	}
	old := filled(t)
	old.Cursor = events.Cursor{Epoch: 6, Seq: 8}
	for name, payload := range map[string]string{
		"nothing":        "",
		"no base64":      "hello!",
		"another server": newSeal(7, secret).close("nobody", encodeEvent(e)),
		"another secret": newSeal(7, []byte(strings.Repeat("x", 32))).close("node",
			encodeEvent(e)),
		"an event of another epoch": newSeal(7, secret).close("node", encodeEvent(old)),
		"half an event":             newSeal(7, secret).close("node", encodeEvent(e)[:20]),
	} {
		if got := newSeal(7, secret).open("node", payload); got != nil {
			t.Errorf("%s: got %d events, want none", name, len(got))
		}
	}
	if s := newSeal(7, nil); s.aead != nil {
		t.Error("got a seal without a secret")
	}
}

// Waiting events are bounded, and each part fits into a notification.
func TestRingsFitIntoNotifications(t *testing.T) {
	t.Parallel()
	b := newDoorbell()
	b.unanswered.Store(helloMissed) // it may have others to tell
	e := filled(t)
	e.Cursor.Epoch = 7
	s := newSeal(7, []byte(strings.Repeat("k", 32)))
	sent := 0
	for size := range 9000 {
		e.Message.Content = strings.Repeat("x", size*7%9000)
		b.carry(e)
		if size%40 != 0 {
			continue
		}
		if b.outgoing.bytes > carriedBytes {
			t.Fatalf("got %d bytes that wait, want %d at most", b.outgoing.bytes, carriedBytes)
		}
		_, parts := b.outgoing.take()
		for _, part := range parts {
			payload := b.node + s.close(b.node, part)
			if len(payload) > 7999 {
				t.Fatalf("got a payload of %d bytes", len(payload))
			}
			sent += len(s.open(b.node, payload[len(b.node):]))
		}
	}
	if sent < 1000 {
		t.Errorf("got %d events carried, want most of the small ones", sent)
	}
	e.Message.Content = "of an old epoch"
	b.carry(e)
	e.Cursor.Epoch = 8
	b.carry(e)
	if epoch, parts := b.outgoing.take(); epoch != 8 || len(parts) != 1 ||
		len(decodeEvents(string(parts[0]))) != 1 {
		t.Errorf("got %d parts of epoch %d, want the one of the new epoch", len(parts), epoch)
	}
	if epoch, parts := b.outgoing.take(); len(parts) != 0 {
		t.Errorf("got %d parts of epoch %d again", len(parts), epoch)
	}
}

// Sending and hearing an event costs few allocations: each server hears every post, also those that nobody
// there reads.
func TestACarriedEventAllocatesLittle(t *testing.T) {
	d := &DB{Doorbell: newDoorbell()}
	d.unanswered.Store(helloMissed)
	d.known.events = map[int64]*events.Event{}
	d.epoch.Store(7)
	d.sealed.latest.Store(newSeal(7, []byte(strings.Repeat("k", 32))))
	e := created(7, 1, 1)
	e.Message.Content = strings.Repeat("x", 200)
	sender := testing.AllocsPerRun(100, func() {
		d.carry(e)
		d.rings(t.Context())
	})
	d.carry(e)
	ring := d.rings(t.Context())[0]
	hearer := testing.AllocsPerRun(100, func() { d.hearEvents(t.Context(), ring) })
	t.Logf("%v allocations to send, %v to hear", sender, hearer)
	if sender > 14 || hearer > 14 {
		t.Errorf("got %v allocations to send and %v to hear, want 14 at most", sender, hearer)
	}
}

func BenchmarkHearing(b *testing.B) {
	d := &DB{Doorbell: newDoorbell()}
	d.unanswered.Store(helloMissed)
	d.known.events = map[int64]*events.Event{}
	d.epoch.Store(7)
	d.sealed.latest.Store(newSeal(7, []byte(strings.Repeat("k", 32))))
	e := created(7, 1, 1)
	e.Message.Content = strings.Repeat("x", 200)
	d.carry(e)
	ring := d.rings(b.Context())[0]
	b.ReportAllocs()
	for b.Loop() {
		d.hearEvents(b.Context(), ring)
		d.known.after(events.Cursor{Epoch: 7}, 1000)
	}
}
