package db

import (
	"sync"

	"fabric-guild/events"
)

// ownKept bounds what a node remembers of its own posts, should its tailer not come for them.
const ownKept = 4096

// own are the events of this node's posts that were committed and that its tailer has not had yet. Those that
// follow its position without a gap are what the log holds there: nobody else has those numbers. So a node
// that is alone reads no rows that it has just written, and one of many only those of the others.
type own struct {
	mu     sync.Mutex
	events map[int64]*events.Event
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

// after returns what follows a position without a gap, in the same life of the database, and forgets it.
// more says that there is some beyond a gap.
//
// It returns nothing where there is a post at or below the position. The tailer may have read its row
// before it was noted here; or else its number was given out a second time, and only a look at the log can
// tell.
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
	return run, more
}

// forget drops what lies at or below the horizon of a read: it was among its rows.
func (o *own) forget(horizon int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for seq := range o.events {
		if seq <= horizon {
			delete(o.events, seq)
		}
	}
}
