package handlers

import (
	"context"
	"encoding/json"
	"time"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/events/live"
)

const (
	stateKept   = 10 * time.Second // how long a wake.state may wait for its round
	workChanges = 1024             // changes that wait to be shown
	// leaseLook is how often a server looks for leases that have ended by themselves, while a stream asks.
	leaseLook = time.Second
)

// watched reports whether anybody may hear a wake.state: without listeners it needs no query.
func (s *Server) watched() bool { return s.router.Watched() || s.db.HasOthers() }

// noteWork keeps a change of work until RunWork shows it. It does not block. Beyond workChanges it drops the
// change.
func (s *Server) noteWork(c db.WorkChange) {
	if !s.watched() {
		return
	}
	select {
	case s.worked <- c:
	default:
	}
}

// RunWork shows how work on messages stands, until ctx ends. It is the only place that sends wake.state: it
// reads the state when it shows a change, so a stream and the deliveries of a message say the same. Requests
// do not wait for it.
func (s *Server) RunWork(ctx context.Context) {
	look := time.NewTicker(leaseLook)
	defer look.Stop()
	var looked time.Time // by Postgres' clock; zero: nobody was listening
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-s.worked:
			s.showWork(ctx, c, s.signal)
		case <-look.C:
			if !s.router.Watched() {
				looked = time.Time{}
				continue
			}
			ended, upTo, err := s.db.LeasesEnded(ctx, looked)
			if err != nil {
				continue // the next look begins at the same time
			}
			looked = upTo
			for _, c := range ended { // each server looks for its own streams
				s.showWork(ctx, c, func(x *events.Signal, _ func(int) json.RawMessage) { s.router.Tell(x) })
			}
		}
	}
}

// showWork shows the work that a change is about to the members from whom none of the messages was kept. If
// the database does not answer, it shows nothing.
//
// Another server may show a newer state meanwhile. So each signal is as of the time before its read, and a
// topic remembers for SignalPace when its latest signal was sent. If the read takes longer, the state is read
// again: the second read sees what was committed before it, and what is committed later is shown later.
func (s *Server) showWork(
	ctx context.Context, c db.WorkChange, show func(*events.Signal, func(int) json.RawMessage),
) {
	for before := ""; ; {
		began := time.Now()
		shown := s.showWorkAsOf(ctx, began, c, show)
		if shown == before || time.Since(began) < live.SignalPace {
			return
		}
		before = shown
	}
}

// showWorkAsOf shows the work as of a time before it reads the work. It returns what it has shown.
func (s *Server) showWorkAsOf(
	ctx context.Context, at time.Time, c db.WorkChange, show func(*events.Signal, func(int) json.RawMessage),
) (shown string) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	all, err := s.db.Working(ctx, c)
	if err != nil {
		return ""
	}
	for _, w := range all {
		if len(w.Messages) == 0 {
			continue
		}
		data := events.WorkState{ChannelID: c.Channel, UserID: c.User, State: w.State.State}
		if w.State.Status != nil {
			data.Status = *w.State.Status
		}
		var since int64
		if w.Channel.History != "all" {
			since = w.Messages[0].Seq
		}
		for _, m := range w.Messages {
			data.MessageIDs = append(data.MessageIDs, m.ID)
		}
		encoded := data.Encode()
		shown += string(encoded)
		show(&events.Signal{
			Event: events.WakeState, ChannelID: c.Channel, GuildID: w.Channel.GuildID, UserID: c.User,
			Of: w.Messages[0].ID,
			At: s.router.Position(), Sent: at.UnixNano(), Until: time.Now().Add(stateKept),
			Only: audience(w.Messages), Since: since, Data: encoded,
		}, func(size int) json.RawMessage {
			line := data.Encode()
			// clients know the messages by the later ones too
			for len(line) > size && len(data.MessageIDs) > 1 {
				data.MessageIDs = data.MessageIDs[(len(data.MessageIDs)+1)/2:]
				line = data.Encode()
			}
			return line
		})
	}
	return shown
}
