package events

import (
	"slices"
	"strconv"

	"github.com/google/uuid"
)

// A Frame is one event of a stream in its encoded form. The bytes are shared between sessions and are
// never written to. Fields follow WHATWG HTML 9.2.5; the id comes last, so that a client which reads a
// truncated frame has not moved its cursor yet.
type Frame struct {
	Event string // empty: a comment, which is Data
	ID    string // empty: the frame does not move a client's cursor
	Data  []byte // one line
	sse   []byte // the frame as it goes over the wire
	seq   int64  // of ID, 0 without one
	wakes bool
}

// outcome is what came of an event that was to be shown as f; nil: it was not.
func (f *Frame) outcome() Outcome {
	switch {
	case f == nil:
		return Skip
	case f.wakes:
		return Wake
	}
	return Observer
}

// Frames of the stream's own that more than their maker knows.
const (
	streamReady    = "stream.ready"
	streamReset    = "stream.reset"
	streamChannels = "stream.channels"
	streamLive     = "stream.live"
	streamCursor   = "stream.cursor"
	streamClosing  = "stream.closing"
)

// SSE is the whole frame as text/event-stream.
func (f *Frame) SSE() []byte { return f.sse }

func newFrame(event string, data any, id Cursor) *Frame {
	return rawFrame(event, appendEncoded(nil, data), id)
}

// rawFrame takes data that is one line of JSON already.
func rawFrame(event string, data []byte, id Cursor) *Frame {
	return framed(event, id, len(data), func(b []byte) []byte { return append(b, data...) })
}

// framed has the data appended, which is one line of about that size.
func framed(event string, id Cursor, size int, data func(b []byte) []byte) *Frame {
	f := &Frame{Event: event, seq: id.Seq}
	b := make([]byte, 0, len(event)+size+64)
	b = append(append(append(b, "event: "...), event...), "\ndata: "...)
	from := len(b)
	b = data(b)
	to := len(b)
	b = append(b, '\n')
	f.Data = b[from:to:to]
	if id != (Cursor{}) {
		f.ID = id.String()
		b = append(append(append(b, "id: "...), f.ID...), '\n')
	}
	f.sse = append(b, '\n')
	return f
}

// comment is a line that clients pass over (WHATWG HTML 9.2.6): it keeps idle connections open.
func comment(text string) *Frame {
	return &Frame{Data: []byte(text), sse: []byte(": " + text + "\n\n")}
}

// membership is what a change of a channel or of its members looks like.
type membership struct {
	ChannelID  uuid.UUID `json:"channelId"`
	UserID     string    `json:"userId"`
	XType      XType     `json:"xType"`
	OccurredAt Time      `json:"occurredAt"`
	GuildID    string    `json:"guildId"`
	Name       string    `json:"name"`
	Reason     string    `json:"reason,omitempty"` // of a turn's change
}

// frameFor is how a member of an interval, or the admin, hears e: the one place where live delivery, the
// ring and the log's pages decide. nil: not at all.
func (e *Event) frameFor(user string, in Interval, f *Filter) *Frame {
	if !f.inGuild(e.GuildID) {
		return nil
	}
	switch e.Kind {
	case MessageCreated, MessageUpdated, MessageDeleted:
		if e.Message == nil {
			return nil // retention of messages, some day: there is nothing to show
		}
		return e.messageFrame(user, in, f)
	case ChannelCreated:
		return e.own(user, channelJoined, f)
	case MemberJoined:
		if user == e.UserID {
			return e.own(user, channelJoined, f)
		}
	case MemberLeft:
		if user == e.UserID {
			return e.own(user, channelLeft, f)
		}
	case WakeDead:
		return e.wakeDead(user, f)
	case ChannelUpdated, ChannelArchived, TurnChanged:
	default:
		return nil // written by a newer version: not ours to tell
	}
	if !f.passes(string(e.Kind), e.ChannelID) {
		return nil
	}
	return e.cached(noReason, func() *Frame { return newFrame(string(e.Kind), e.membership(e.UserID), e.Cursor) })
}

func (e *Event) own(user, name string, f *Filter) *Frame {
	if !f.passesOwn(name) {
		return nil
	}
	return newFrame(name, e.membership(user), e.Cursor)
}

func (e *Event) membership(user string) membership {
	return membership{e.ChannelID, user, e.XType, e.OccurredAt, e.GuildID, e.Name, e.Reason}
}

// cached encodes a variant once. Two sessions may both find it missing; either result will do.
func (e *Event) cached(variant Reason, encode func() *Frame) *Frame {
	if f := e.frames[variant].Load(); f != nil {
		return f
	}
	f := encode()
	e.frames[variant].Store(f)
	return f
}

func (e *Event) messageFrame(user string, in Interval, f *Filter) *Frame {
	m := e.Message
	if in.Left == 0 && slices.Contains(e.Gone, user) {
		in.Left = e.Cursor.Seq // the router has yet to hear of the leave
	}
	outcome, reason := m.Facts().Decide(user)
	if outcome == Skip && !(reason == Author && f.Echo) || !f.passes(string(e.Kind), e.ChannelID) {
		return nil
	}
	if f.Wakeup && (outcome != Wake || e.Kind != MessageCreated) {
		return nil
	}
	if e.Kind != MessageCreated {
		// An edit wakes nobody, and goes to those who were in the channel ever since the message came, and
		// to the admin, who heard it without.
		if in.Joined > m.Seq && user != e.Admin {
			return nil
		}
		return e.variant(noReason, in, func() *Frame {
			shown := m.For(in)
			return framed(string(e.Kind), e.Cursor, shown.size(), func(b []byte) []byte {
				return append(shown.appendFields(append(b, '{')), `,"wakeup":false}`...)
			})
		})
	}
	return e.variant(reason, in, func() *Frame {
		shown := m.For(in)
		frame := framed(string(e.Kind), e.Cursor, shown.size(), func(b []byte) []byte {
			b = shown.appendFields(append(b, '{'))
			b = strconv.AppendBool(append(b, `,"wakeup":`...), outcome == Wake)
			return append(appendString(append(b, `,"wakeReason":`...), reason.String()), '}')
		})
		frame.wakes = outcome == Wake
		return frame
	})
}

// wakeDead tells that nobody works on a message any more, to everyone from whom the message was not kept.
func (e *Event) wakeDead(user string, f *Filter) *Frame {
	if e.Message == nil || !f.passes(string(e.Kind), e.ChannelID) {
		return nil
	}
	if outcome, reason := e.Message.Facts().Decide(user); outcome == Skip && reason != Author {
		return nil
	}
	return e.cached(noReason, func() *Frame {
		return newFrame(string(e.Kind), struct {
			membership
			MessageID uuid.UUID `json:"messageId"`
		}{e.membership(e.UserID), e.Message.ID}, e.Cursor)
	})
}

// variant is cached but for a reader who is to see less than the others.
func (e *Event) variant(reason Reason, in Interval, encode func() *Frame) *Frame {
	if e.Message.changedAfter(in) {
		return encode()
	}
	return e.cached(reason, encode)
}

// size is about how much memory the event holds, for the ring's bound: the texts that it refers to, and its frames.
func (e *Event) size() int {
	n := 512 + 2*(len(e.UserID)+len(e.GuildID)+len(e.Name)+len(e.Reason)) + held(e.Joined) + held(e.Gone)
	if m := e.Message; m != nil {
		n += len(m.Content) + 2*m.size()                 // two variants or so
		n += 2*held(m.MentionUserIDs) + held(m.WakeList) // sorted too; often nobody shares the list
		n += len(m.GuildID) + len(m.AuthorUserID) + len(m.TurnUserID) + len(m.Admin)
	}
	return n
}

// held is about how much memory a list of ids holds: a header and a small allocation for each.
func held(ids []string) int {
	n := 0
	for _, id := range ids {
		n += 24 + len(id)
	}
	return n
}

// FrameSize is about how many bytes the event's frame has, with what JSON adds to its texts.
func (e *Event) FrameSize() int {
	if e.Message == nil {
		return 280 + len(e.UserID) + len(e.GuildID) + len(e.Name) + escapes(e.Name)
	}
	return 80 + e.Message.size()
}

// heartbeat shows that a quiet stream is alive, and the position that it has reached; nil: not to be told yet.
// It moves no client's cursor.
func (o *Options) heartbeat(at *Cursor) *Frame {
	switch {
	case o.Beats || o.Lines:
		return newFrame("stream.heartbeat", struct {
			Cursor *Cursor `json:"cursor,omitempty"`
		}{at}, Cursor{})
	case at == nil:
		return comment("hb")
	}
	return comment("hb " + at.String())
}
