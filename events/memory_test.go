package events

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// The ring bounds memory, whatever the events hold: lists of long ids, wake lists that no other message
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
		e := &Event{
			Cursor: Cursor{1, int64(i)}, Kind: MessageCreated, ChannelID: ops, GuildID: "g1",
			XType: Custom, Message: &m,
		}
		e.FrameFor("bob", Interval{}, &Filter{})
		return e
	}
	for name, event := range map[string]func(i int) *Event{
		"a new channel": func(i int) *Event {
			return &Event{
				Cursor: Cursor{1, int64(i)}, Kind: ChannelCreated, ChannelID: ops, GuildID: "g1",
				Joined: ids(i, 1000),
			}
		},
		"a wake list": func(i int) *Event { return message(i, Message{WakeList: ids(i, 1000)}) },
		"mentions":    func(i int) *Event { return message(i, Message{MentionUserIDs: ids(i, 200)}) },
		"control text": func(i int) *Event {
			return message(i, Message{Content: strings.Repeat("\x01", 10000+i)})
		},
		"plain text": func(i int) *Event {
			return message(i, Message{Content: strings.Repeat("x", 10000+i)})
		},
	} {
		before := heap()
		size := 0
		kept := make([]*Event, events)
		for i := range kept {
			kept[i] = event(i)
			size += kept[i].Size()
		}
		held := heap() - before
		runtime.KeepAlive(kept)
		if float64(held) > 1.3*float64(size) || float64(held) < 0.3*float64(size) {
			t.Errorf("%s: got a size of %d for each of %d bytes in memory", name, size/events, held/events)
		}
	}
}

// heap returns the bytes in use. The test that calls it runs alone.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
