package events

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// The ring's bound is one of memory, whatever the events are made of: lists of long ids, wake lists that nobody
// shares, text that JSON makes six times as long.
func TestAnEventHoldsAboutItsSize(t *testing.T) {
	const events = 200
	ids := func(i, n int) (list []string) {
		for k := range n {
			list = append(list, strings.Repeat("u", 100)+fmt.Sprintf("%08d", i*n+k))
		}
		return list
	}
	message := func(i int, m Message) *Event {
		m.ID, m.ChannelID, m.GuildID, m.XType, m.AuthorUserID = channelNamed(i), ops, "g1", Custom, "alice"
		m.Settle()
		e := &Event{Cursor: Cursor{1, int64(i)}, Kind: MessageCreated, ChannelID: ops, GuildID: "g1", XType: Custom, Message: &m}
		e.frameFor("bob", Interval{}, &Filter{})
		return e
	}
	for name, event := range map[string]func(i int) *Event{
		"a new channel": func(i int) *Event {
			return &Event{Cursor: Cursor{1, int64(i)}, Kind: ChannelCreated, ChannelID: ops, GuildID: "g1", Joined: ids(i, 1000)}
		},
		"a wake list":  func(i int) *Event { return message(i, Message{WakeList: ids(i, 1000)}) },
		"mentions":     func(i int) *Event { return message(i, Message{MentionUserIDs: ids(i, 200)}) },
		"control text": func(i int) *Event { return message(i, Message{Content: strings.Repeat("\x01", 10000+i)}) },
		"plain text":   func(i int) *Event { return message(i, Message{Content: strings.Repeat("x", 10000+i)}) },
	} {
		before := heap()
		size := 0
		kept := make([]*Event, events)
		for i := range kept {
			kept[i] = event(i)
			size += kept[i].size()
		}
		held := heap() - before
		runtime.KeepAlive(kept)
		if float64(held) > 1.3*float64(size) || float64(held) < 0.3*float64(size) {
			t.Errorf("%s: got a size of %d for each of %d bytes in memory", name, size/events, held/events)
		}
	}
}

// heap is how many bytes are in use. The test that asks runs alone.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A stream that comes from the ring holds about as much as its queue may hold, whatever the frames are.
func TestAPartOfTheRingIsBoundedByBytes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := newMemLog()
		from := l.create(ops, "alice", "bob")
		n := newNode(t, l)
		var last Cursor
		for range queueFrames {
			last = l.post(ops, "alice", strings.Repeat("\x01", 10000))
		}
		settle()
		most, frames := 0, 0
		done := make(chan struct{})
		s, err := n.Open(Options{User: "bob", Resume: &from, Checked: from.Epoch})
		if err != nil {
			t.Fatal(err)
		}
		s.Start(sent(func(part []*Frame) {
			size := 0
			for _, f := range part {
				size += len(f.sse)
				if f.Event == "message.created" {
					frames++
				}
				if f.Event == streamLive && f.ID == last.String() {
					close(done)
				}
			}
			most = max(most, size)
		}))
		<-done
		s.Abort()
		if frames != queueFrames || most > queueBytes+100000 {
			t.Errorf("got %d frames, with %d bytes at once; want %d, with %d or a frame more", frames, most, queueFrames, queueBytes)
		}
	})
}
