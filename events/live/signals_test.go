package live

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"fabric-guild/events"
)

// draft returns an activity of a user as of a position.
func draft(at events.Cursor, channel uuid.UUID, user, text string) *events.Signal {
	now := time.Now()
	d := events.Doing{
		ChannelID: channel, UserID: user, Kind: "draft", Text: text,
		Until: events.Time{Time: now.Add(10 * time.Second)},
	}
	return &events.Signal{
		Event: events.Activity, ChannelID: channel, GuildID: "g1", UserID: user, Echo: true,
		At: at, Sent: now.UnixNano(), Until: d.Until.Time, Data: d.Encode(),
	}
}

// hears reads frames until one has that event, skips heartbeats, and checks that a signal has no id.
func (c *client) hears(event, data string) got {
	c.t.Helper()
	for {
		f, ok := c.next()
		if !ok {
			c.t.Fatalf("the stream ended, want %s with %s", event, data)
		}
		if f.event == "" || f.event == events.StreamCursor || f.event == events.StreamReady ||
			f.event == events.StreamLive {
			continue
		}
		if f.event != event || !strings.Contains(f.data, data) {
			c.t.Fatalf("got %v, want %s with %s", f, event, data)
		}
		if slices.Contains(events.SignalNames, event) && f.id != "" {
			c.t.Fatalf("got the id %s with a signal, want none", f.id)
		}
		return f
	}
}

// Only streams that asked get activity, of others, in their channels, while it means something.
func TestActivityReachesThoseWhoAsked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		room, other := uuid.New(), uuid.New()
		l.create(room, "ann", "bob", "cid")
		l.create(other, "ann")
		n := newNode(t, l)
		asked := n.open(t, Options{User: "bob", Activity: true})
		silent := n.open(t, Options{User: "bob"})
		guilds := n.open(t, Options{
			User: "bob", Activity: true,
			Filter: events.Filter{Guilds: []string{"g2"}},
		})
		stranger := n.open(t, Options{User: "dan", Activity: true})
		author := n.open(t, Options{User: "ann", Activity: true})
		echo := n.open(t, Options{User: "ann", Activity: true, Filter: events.Filter{Echo: true}})
		for _, c := range []*client{asked, silent, guilds, stranger, author, echo} {
			c.expect(got{event: "stream.ready"})
		}
		synctest.Wait()
		n.Tell(draft(n.Position(), room, "ann", "one"))
		n.Tell(draft(n.Position(), other, "ann", "elsewhere"))
		asked.hears("activity", `"text":"one"`)
		time.Sleep(SignalPace)
		n.Tell(draft(n.Position(), uuid.New(), "ann", "nowhere"))
		late := draft(n.Position(), room, "ann", "late")
		late.Until = time.Now()
		n.Tell(late)
		foreign := draft(n.Position(), room, "ann", "foreign")
		foreign.At.Epoch++
		n.Tell(foreign)
		l.post(room, "cid", "the message")
		for _, c := range []*client{asked, silent, author} {
			c.hears("message.created", "the message") // and nothing before it
		}
		first := echo.hears("activity", "ann")
		second := echo.hears("activity", "ann")
		if both := first.data + second.data; !strings.Contains(both, "one") ||
			!strings.Contains(both, "elsewhere") {
			t.Errorf("got %s, want both of the user's own activities", both)
		}
		echo.hears("message.created", "the message")
	})
}

// The latest activity of a user wins, and at most four per second go out.
func TestTheLatestActivityWins(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		room := uuid.New()
		l.create(room, "ann", "bob", "bot")
		n := newNode(t, l)
		c := n.open(t, Options{User: "bob", Activity: true})
		c.expect(got{event: "stream.ready"})
		synctest.Wait()
		began := time.Now()
		go func() {
			for i := range 1000 {
				n.Tell(draft(n.Position(), room, "ann", fmt.Sprintf("draft %d.", i)))
				time.Sleep(time.Millisecond)
			}
			old := draft(n.Position(), room, "ann", "draft, out of order")
			old.Sent -= int64(time.Minute)
			n.Tell(old)
			time.Sleep(2 * SignalPace)
			l.post(room, "bot", "the end")
		}()
		frames := 1
		for f := c.hears("activity", "draft"); !strings.Contains(f.data, "draft 999."); frames++ {
			f = c.hears("activity", "draft")
		}
		took := time.Since(began)
		c.hears("message.created", "the end") // and not what is out of order
		if frames > 6 || took > time.Second+SignalPace {
			t.Errorf("got %d frames in %v, want one at once, four per second, and the last one", frames, took)
		}
		if sent := n.Counters().Signals.Load(); sent != int64(frames) {
			t.Errorf("got %d signals counted, want %d", sent, frames)
		}
	})
}

// With many listeners a user's activity goes out less often: all streams together get 400 frames per second.
func TestActivityPausesForManyListeners(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		room := uuid.New()
		const listeners = 1000
		members := []string{"ann"}
		for i := range listeners {
			members = append(members, fmt.Sprint("u", i))
		}
		l.create(room, members...)
		n := newNode(t, l)
		for _, user := range members[1:] {
			s, err := n.Open(t.Context(), Options{User: user, Activity: true})
			if err != nil {
				t.Fatal(err)
			}
			s.Start(discard{})
		}
		synctest.Wait()
		const seconds = 10
		for range seconds * 20 {
			n.Tell(draft(n.Position(), room, "ann", "draft"))
			time.Sleep(50 * time.Millisecond)
		}
		if got, most := n.Counters().Signals.Load(),
			int64((seconds*topicFrames/listeners+1)*listeners); got > most || got < most/2 {
			t.Errorf("got %d frames in %d s, want about %d at most", got, seconds, most)
		}
	})
}

// A discard is a transport that takes everything.
type discard struct{}

func (discard) Send([]*events.Frame) error { return nil }
func (discard) Close()                     {}
func (discard) Name() string               { return "discard" }

// A draft that arrives after its user's message, or leave, is dropped. One that was sent after it is shown.
func TestAMessageEndsItsAuthorsActivity(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		room := uuid.New()
		l.create(room, "ann", "bob", "cid")
		n := newNode(t, l)
		c := n.open(t, Options{User: "bob", Activity: true})
		c.expect(got{event: "stream.ready"})
		synctest.Wait()
		before := n.Position()
		n.Tell(draft(before, room, "cid", "still"))
		c.hears("activity", "still")

		n.Tell(draft(before, room, "ann", "waits for its round"))
		l.post(room, "ann", "final")
		c.hears("message.created", "final")
		n.Tell(draft(before, room, "ann", "arrives late"))
		n.Tell(draft(before, room, "cid", "of another user"))
		c.hears("activity", "of another user")
		n.Tell(draft(n.Position(), room, "ann", "the next one"))
		c.hears("activity", "the next one")

		before = n.Position()
		l.leave(room, "ann")
		c.hears("member.left", "ann")
		n.Tell(draft(before, room, "ann", "has left"))
		n.Tell(draft(n.Position(), room, "cid", "last"))
		c.hears("activity", "last")
	})
}

// A server that is behind shows a signal only once it has read as far as its sender: a user who has left
// meanwhile hears nothing.
func TestASignalWaitsForTheEventLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		room := uuid.New()
		l.create(room, "ann", "bob", "cid")
		n := newNode(t, l)
		bob := n.open(t, Options{User: "bob", Activity: true})
		cid := n.open(t, Options{User: "cid", Activity: true})
		bob.expect(got{event: "stream.ready"})
		cid.expect(got{event: "stream.ready"})
		synctest.Wait()
		l.set(func() { l.blind = true })
		at := l.leave(room, "bob")
		n.Tell(draft(at, room, "ann", "without bob"))
		time.Sleep(4 * SignalPace)
		l.set(func() { l.blind = false })
		bob.hears("channel.left", "bob")
		cid.hears("member.left", "bob")
		cid.hears("activity", "without bob")
		back := l.join(room, "bob")
		bob.hears("channel.joined", "bob")
		n.Tell(draft(back, room, "ann", "with bob"))
		bob.hears("activity", "with bob") // and nothing in between
	})
}

// A stream whose client does not read takes no activity, and every message. Its memory stays bounded.
func TestActivityIsDroppedFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		room := uuid.New()
		members := []string{"bob", "poster"}
		for i := range 200 {
			members = append(members, fmt.Sprint("u", i))
		}
		l.create(room, members...)
		n := newNode(t, l)
		c := n.open(t, Options{User: "bob", Activity: true})
		c.expect(got{event: "stream.ready"})
		synctest.Wait()
		const messages = 250
		for i := range messages {
			l.post(room, "poster", fmt.Sprintf("message %d.", i))
			for _, user := range members[2:] {
				n.Tell(draft(n.Position(), room, user, strings.Repeat("x", 4096)))
			}
			synctest.Wait()
			if i%10 == 0 { // a client that reads nothing for longer is cut
				time.Sleep(SignalPace)
			}
		}
		c.s.mu.Lock()
		waiting, signals, size := len(c.s.queue), c.s.signals, c.s.signalBytes
		last := 0 // the place of the last signal
		for i, f := range c.s.queue {
			if f.Topic != nil {
				last = i
			}
		}
		c.s.mu.Unlock()
		if last > behindFrames+queueSignals {
			t.Errorf("got a signal at place %d of the queue, want none for a stream that is behind", last)
		}
		if signals > queueSignals || size > queueSignalBytes || waiting-signals > queueFrames {
			t.Errorf("got %d frames, of them %d signals of %d bytes, want them bounded", waiting,
				signals, size)
		}
		n.mu.Lock()
		topics, held := len(n.signals.topics), n.signals.held
		n.mu.Unlock()
		if topics > 201 || held > maxHeld {
			t.Errorf("got %d topics with %d bytes, want one for each user", topics, held)
		}
		dropped := n.Counters().SignalsDropped.Load()
		if dropped == 0 {
			t.Error("got no signal dropped")
		}
		if n.Counters().Overflows.Load() != 0 {
			t.Error("got an overflow, want signals to leave the room for messages alone")
		}
		for i := range messages {
			want := fmt.Sprintf("message %d.", i)
			for {
				f, ok := c.next()
				if !ok {
					t.Fatal("the stream ended")
				}
				if f.event != "activity" && f.event != "stream.cursor" {
					if f.event != "message.created" || !strings.Contains(f.data, want) {
						t.Fatalf("got %v, want %s", f, want)
					}
					break
				}
			}
		}
	})
}

// A client that resumes misses nothing of the event log and sees no old activity. A poll never shows any.
func TestActivityIsInNoReplay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		room := uuid.New()
		l.create(room, "ann", "bob")
		n := newNode(t, l)
		c := n.open(t, Options{User: "bob", Activity: true, Reads: true})
		c.expect(got{event: "stream.ready"})
		synctest.Wait()
		start := n.Position()
		n.Tell(draft(n.Position(), room, "ann", "old"))
		c.hears("activity", "old")
		l.post(room, "ann", "one")
		c.hears("message.created", "one")
		_ = c.conn.Close()
		n.Tell(draft(n.Position(), room, "ann", "while away"))
		time.Sleep(4 * SignalPace)
		l.post(room, "ann", "two")
		synctest.Wait()
		again := n.open(t, Options{User: "bob", Activity: true, Resume: &start})
		for _, want := range []got{
			{event: "stream.ready"},
			{event: "message.created", data: "one"},
			{event: "message.created", data: "two"},
			{event: "stream.live"},
		} {
			again.expect(want)
		}
		n.Tell(draft(n.Position(), room, "ann", "new"))
		again.hears("activity", "new")
		polled, err := n.Poll(t.Context(), Options{User: "bob", Resume: &start}, 50, time.Second)
		if err != nil || len(polled.Frames) != 2 {
			t.Errorf("got %d frames and error %v, want two messages", len(polled.Frames), err)
		}
		for _, e := range n.ring.events {
			if slices.Contains(events.SignalNames, string(e.Kind)) {
				t.Errorf("got %s in the ring", e.Kind)
			}
		}
	})
}

// A channel.read goes to all streams of its user that take it, with or without activity, and to nobody else.
func TestChannelReadGoesToOnesOwnStreams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		room := uuid.New()
		l.create(room, "ann", "bob")
		n := newNode(t, l)
		own := n.open(t, Options{User: "bob", Reads: true})
		typed := n.open(t, Options{
			User: "bob", Reads: true,
			Filter: events.Filter{Types: []string{"message.created"}},
		})
		other := n.open(t, Options{User: "ann", Reads: true, Activity: true})
		for _, c := range []*client{own, typed, other} {
			c.expect(got{event: "stream.ready"})
		}
		synctest.Wait()
		to := uuid.New()
		n.Tell(&events.Signal{
			Event: events.ChannelRead, ChannelID: room, GuildID: "g1", UserID: "bob", At: n.Position(),
			Sent: 1, Until: time.Now().Add(time.Minute),
			Data: events.ReadMark{ChannelID: room, UserID: "bob", ReadTo: to}.Encode(),
		})
		own.hears("channel.read", to.String())
		l.post(room, "cid", "the message")
		for _, c := range []*client{own, typed, other} {
			c.hears("message.created", "the message")
		}
	})
}

// Activity costs nothing for streams that did not ask, however many there are.
func TestActivityCostsNothingForOthers(t *testing.T) { // not parallel: it counts allocations
	l := newMemLog()
	room := uuid.New()
	members := []string{"ann"}
	for i := range 1000 {
		members = append(members, fmt.Sprint("u", i))
	}
	l.create(room, members...)
	n := newNode(t, l)
	for _, user := range members[1:] {
		n.open(t, Options{User: user}).expect(got{event: "stream.ready"})
	}
	s := draft(n.Position(), room, "ann", "draft")
	if got := testing.AllocsPerRun(100, func() { n.Tell(s) }); got != 0 {
		t.Errorf("got %v allocations, want none", got)
	}
	if n.signals.timer != nil || len(n.signals.topics) > 0 || n.Counters().Signals.Load() != 0 {
		t.Error("got a signal kept, want it dropped at once")
	}
}

// The text of a draft is cut between two characters, so that the data fits.
func TestADraftIsCutToFit(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		strings.Repeat("a", 4096), strings.Repeat("🦀", 1024),
		strings.Repeat("\x01", 4096), strings.Repeat("\u2028é", 800), "short", "",
	} {
		d := events.Doing{UserID: "ann", Kind: "draft", Text: text}
		for _, size := range []int{300, 2000, 30000} {
			line := d.Within(size)
			var got events.Doing
			if err := json.Unmarshal(line, &struct{ Until *struct{} }{}); err == nil {
				t.Error("got no time")
			}
			if err := json.Unmarshal(line, &struct {
				Text *string `json:"text"`
				Cut  *bool   `json:"cut"`
			}{&got.Text, &got.Cut}); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if len(line) > size || !strings.HasPrefix(text, got.Text) || got.Cut != (got.Text != text) {
				t.Errorf("got %d bytes with %d of %d bytes of text, cut: %v, want %d bytes at most",
					len(line), len(got.Text), len(text), got.Cut, size)
			}
			if got.Cut && len(line) < size-20 && size > 300 {
				t.Errorf("got %d bytes, want about %d", len(line), size)
			}
		}
	}
}
