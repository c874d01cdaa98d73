package db

import (
	"sync"

	"fabric-guild/events"
)

// ownKept is how many of its own posts a server keeps, in case its tailer does not take them.
const ownKept = 4096

// own holds the events of this server's posts that were committed and that its tailer has not taken yet.
// Events that follow the tailer's position without a gap are exactly what the event log holds there: no other
// server has those numbers. So a server that is alone does not read the rows that it has just written. One of
// several servers reads only the rows of the others.
type own struct {
	mu     sync.Mutex
	events map[int64]*events.Event
	unread int64 // after this number a post has appended an event that is not here; 0: none has
}

// add notes a post that was committed.
func (o *own) add(p *posting) {
	m := p.post.Message
	row := eventRow{
		Seq: m.Seq, Kind: events.MessageCreated, UserID: m.AuthorUserID, OccurredAt: m.CreatedAt,
		ChannelID: m.ChannelID, GuildID: m.GuildID, Name: p.name, XType: m.XType, HeardByAdmin: optional(m.Admin),
	}
	e := row.event(p.post.Cursor.Epoch, nil)
	e.Message = &m
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.events) >= ownKept {
		clear(o.events)
	}
	o.events[m.Seq] = e
}

// addedMore notes that a post has appended another event, after its own number. Only a read of the event log
// can return it.
func (o *own) addedMore(after int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.unread = max(o.unread, after)
}

// after removes and returns the events that follow a position without a gap, in the same epoch. more says
// that there are events beyond a gap, or events that are not here.
//
// It returns nothing if there is a post at or below the position. Either the tailer read the post's row
// before the post was added here. Or the post's number was given out a second time, and only a read of the
// event log can tell.
func (o *own) after(at events.Cursor, limit int) (run []*events.Event, more bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	reached := at.Seq
	again := false
	for seq, e := range o.events {
		if seq <= reached {
			again = again || e.Cursor.Epoch == at.Epoch
			delete(o.events, seq)
		}
	}
	if again {
		return nil, false
	}
	for ; len(run) < limit; reached++ {
		e := o.events[reached+1]
		if e == nil || e.Cursor.Epoch != at.Epoch {
			break
		}
		run = append(run, e)
	}
	for seq := range o.events {
		if seq > reached {
			more = true
		} else {
			delete(o.events, seq)
		}
	}
	return run, more || o.unread != 0
}

// forget drops the events at or below the horizon of a read: their rows were part of the read.
func (o *own) forget(horizon int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for seq := range o.events {
		if seq <= horizon {
			delete(o.events, seq)
		}
	}
	if horizon > o.unread {
		o.unread = 0
	}
}
