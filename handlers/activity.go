package handlers

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"fabric-guild/events"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/web"

	"github.com/google/uuid"
)

const (
	maxActivityText = 4 << 10 // bytes
	defaultActivity = 10      // seconds
	maxActivity     = 60      // seconds
)

type activityBody struct {
	Kind       string  `json:"kind"`
	Text       *string `json:"text"`
	ReplyTo    *string `json:"replyTo"`
	TTLSeconds *int    `json:"ttlSeconds"`
}

type activityAnswer struct {
	Until events.Time `json:"until"`
}

// showActivity shows other members what the caller does: POST /api/channels/:id/activity. Nothing is stored.
// Of several activities, streams get the latest.
func (s *Server) showActivity(w http.ResponseWriter, r *http.Request) error {
	id, channel, _, err := s.begin(w, r)
	if err != nil {
		return err
	}
	body, err := web.Decode[activityBody](w, r)
	if err != nil {
		return err
	}
	doing, err := body.doing(channel, id.UserID, time.Now())
	if err != nil {
		return err
	}
	c, at, err := s.activeIn(r.Context(), id, channel)
	if err != nil {
		return err
	}
	s.signal(&events.Signal{
		Event: events.Activity, ChannelID: channel, GuildID: c.guild, UserID: id.UserID, At: at,
		Until: doing.Until.Time,
		Echo:  !s.twoState, Only: c.only, Data: doing.Encode(),
	}, doing.Within)
	return web.WriteJSON(w, http.StatusAccepted, activityAnswer{doing.Until})
}

// doing checks the body and returns the activity. The error is a *web.Problem.
func (b activityBody) doing(channel uuid.UUID, user string, now time.Time) (events.Doing, error) {
	var wrong []web.FieldError
	if !slices.Contains(events.ActivityKinds, b.Kind) {
		wrong = append(wrong, web.FieldError{
			Field:  "kind",
			Detail: "must be one of " + events.Join(events.ActivityKinds),
		})
	}
	d := events.Doing{ChannelID: channel, UserID: user, Kind: b.Kind}
	if b.Text != nil {
		d.Text = *b.Text
	}
	if len(d.Text) > maxActivityText || strings.ContainsRune(d.Text, 0) {
		wrong = append(wrong, web.FieldError{
			Field:  "text",
			Detail: fmt.Sprintf("must have %d bytes at most, and no NUL", maxActivityText),
		})
	}
	if b.ReplyTo != nil {
		message, ok := web.ParseID(*b.ReplyTo)
		if !ok {
			wrong = append(wrong, web.FieldError{Field: "replyTo", Detail: "must be the id of a message"})
		}
		d.ReplyTo = &message
	}
	seconds := whole(&wrong, "ttlSeconds", b.TTLSeconds, defaultActivity, 1, maxActivity)
	d.Until = events.Time{Time: now.Add(time.Duration(seconds) * time.Second)}
	if len(wrong) > 0 {
		return d, web.Refused(wrong...)
	}
	return d, nil
}

// signal shows a signal on this server and on the others. within returns its data in a limited number of
// bytes. It never blocks. If x.Sent is not set, the signal is as of now.
func (s *Server) signal(x *events.Signal, within func(size int) json.RawMessage) {
	x.Sent = cmp.Or(x.Sent, time.Now().UnixNano())
	s.router.Tell(x)
	if !s.db.HasOthers() {
		return
	}
	for _, note := range notesOf(x, within) {
		s.db.Send(note)
	}
}

// hear shows a signal of another server on this one. It never blocks. The signal lasts here for as long as it
// lasts there: the clocks of two servers may differ.
func (s *Server) hear(x *events.Signal) {
	x.Until = time.Now().Add(x.Until.Sub(time.Unix(0, x.Sent)))
	s.router.Tell(x)
}

// standings remember for a moment who may send activity where, so that activity costs no query each time. A
// change of a channel by this server ends what is remembered of it; changes by others may be seen late.
type standings struct {
	mu       sync.Mutex
	channels map[uuid.UUID]*activeChannel
	members  int           // in all channels
	changes  int           // how often change was called
	changed  events.Cursor // of the latest change: no signal is shown before the server has read it
}

// An activeChannel is what activity needs to know about a channel.
type activeChannel struct {
	guild   string
	only    []string            // triage: those who do not skip messages, sorted; nil: all members
	members map[string]struct{} // some of them
	until   time.Time
}

const (
	standingKept = 5 * time.Second
	standingsMax = 10_000 // channels, and members; beyond it all are forgotten
)

func newStandings() *standings { return &standings{channels: map[uuid.UUID]*activeChannel{}} }

// activeIn returns what activity needs to know about the channel, and the position that the activity must not
// be shown before. Where the caller is live, the router knows the memberships. The error is a *web.Problem if
// the caller may not send activity there.
func (s *Server) activeIn(
	ctx context.Context, id auth.Identity, channel uuid.UUID,
) (activeChannel, events.Cursor, error) {
	now := time.Now()
	member, known := s.router.Member(id.UserID, channel)
	c, listed, at, changes := s.standings.look(id.UserID, channel, now)
	if position := s.router.Position(); at.Epoch != position.Epoch || at.Seq < position.Seq {
		at = position
	}
	if c.guild != "" && (member || !known && listed) && id.MayEnter(c.guild) {
		return c, at, nil
	}
	done, err := s.db.Reading(ctx)
	if err != nil {
		return c, at, err
	}
	defer done()
	found, err := ofMember(ctx, s.db.Queries, id, channel)
	if err != nil {
		return c, at, err
	}
	if err := notArchived(found); err != nil {
		return c, at, err
	}
	c = activeChannel{guild: found.GuildID, members: map[string]struct{}{}, until: now.Add(standingKept)}
	if found.XType == events.Triage && !s.twoState {
		if c.only, err = s.db.WakeList(ctx, channel); err != nil {
			return c, at, err
		}
		if admin, _ := s.admin.Snapshot(); admin != nil {
			c.only = append(c.only, admin.UserID)
		}
		slices.Sort(c.only)
	}
	s.standings.keep(id.UserID, channel, c, changes)
	return c, at, nil
}

// look returns a channel, with no guild if none is remembered, and whether user is remembered as a member.
func (x *standings) look(
	user string, channel uuid.UUID, now time.Time,
) (c activeChannel, listed bool, changed events.Cursor, changes int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if found := x.channels[channel]; found != nil && now.Before(found.until) {
		c = *found
		_, listed = c.members[user]
	}
	return c, listed, x.changed, x.changes
}

// keep remembers a channel and a member of it, unless a channel has changed since look returned changes.
func (x *standings) keep(user string, channel uuid.UUID, c activeChannel, changes int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.changes != changes {
		return
	}
	if len(x.channels) >= standingsMax || x.members >= standingsMax {
		clear(x.channels)
		x.members = 0
	}
	found := x.channels[channel]
	if found == nil || found.until.Before(c.until.Add(-standingKept)) {
		x.forgetLocked(channel)
		found = &c
		x.channels[channel] = found
	}
	if _, listed := found.members[user]; !listed {
		found.members[user] = struct{}{}
		x.members++
	}
}

// change forgets a channel that this server has changed.
func (x *standings) change(channel uuid.UUID, at events.Cursor) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.changes++
	x.forgetLocked(channel)
	if at.Epoch != x.changed.Epoch || at.Seq > x.changed.Seq {
		x.changed = at
	}
}

// forgetLocked forgets a channel. x.mu is held.
func (x *standings) forgetLocked(channel uuid.UUID) {
	if found := x.channels[channel]; found != nil {
		x.members -= len(found.members)
		delete(x.channels, channel)
	}
}
