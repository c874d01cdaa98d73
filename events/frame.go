package events

import (
	"slices"
	"strconv"

	"github.com/google/uuid"
)

// A Frame is one event of a stream in its encoded form. Sessions share the bytes, so nobody may write to
// them. The fields follow WHATWG HTML 9.2.5. The id comes last, so that a client that reads a truncated frame
// has not moved its cursor yet.
type Frame struct {
	Event string // empty: the frame is a comment, and Data is its text
	ID    string // empty: the frame does not move a client's cursor
	Data  []byte // one line
	Seq   int64  // the number in ID; 0 without an ID
	Topic *Topic // of a signal; nil: no signal
	sse   []byte // the whole frame as text/event-stream
	wakes bool
}

// Outcome returns the outcome of the event that f shows. A nil f stands for an event that is not shown.
func (f *Frame) Outcome() Outcome {
	switch {
	case f == nil:
		return Skip
	case f.wakes:
		return Wake
	}
	return Observer
}

// SSE returns the whole frame as text/event-stream, or as the form that Format.Dress gave it.
func (f *Frame) SSE() []byte { return f.sse }

// newFrame encodes data as JSON. A zero id makes a frame that does not move a client's cursor.
func newFrame(event string, data any, id Cursor) *Frame {
	line := appendEncoded(nil, data)
	return framed(event, id, len(line), func(b []byte) []byte { return append(b, line...) })
}

// framed makes a frame whose data is what the function data appends: one line of about size bytes.
func framed(event string, id Cursor, size int, data func(b []byte) []byte) *Frame {
	f := &Frame{Event: event, Seq: id.Seq}
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

// comment returns a frame that clients ignore (WHATWG HTML 9.2.6). It keeps idle connections open.
func comment(text string) *Frame {
	return &Frame{Data: []byte(text), sse: []byte(": " + text + "\n\n")}
}

// membership is the data of an event about a channel or its members.
type membership struct {
	ChannelID  uuid.UUID `json:"channelId"`
	UserID     string    `json:"userId"`
	XType      XType     `json:"xType"`
	OccurredAt Time      `json:"occurredAt"`
	GuildID    string    `json:"guildId"`
	Name       string    `json:"name"`
	Reason     string    `json:"reason,omitempty"` // of a turn's change
}

// FrameFor returns the frame by which user hears e, as the member of an interval or as the admin. It returns
// nil if the user does not hear e. Live delivery, the ring and the pages of the event log all decide here,
// and only here.
func (e *Event) FrameFor(user string, in Interval, f *Filter) *Frame {
	if !f.inGuild(e.GuildID) {
		return nil
	}
	switch e.Kind {
	case MessageCreated, MessageUpdated, MessageDeleted:
		if e.Message == nil {
			return nil // a later version may remove messages: then there is nothing to show
		}
		return e.messageFrame(user, in, f)
	case ChannelCreated:
		return e.own(user, ChannelJoined, f)
	case MemberJoined:
		if user == e.UserID {
			return e.own(user, ChannelJoined, f)
		}
	case MemberLeft:
		if user == e.UserID {
			return e.own(user, ChannelLeft, f)
		}
	case WakeDead:
		return e.wakeDead(user, f)
	case GuardTripped:
		return e.guardTripped(f)
	case ChannelUpdated, ChannelArchived, TurnChanged:
	default:
		return nil // a newer version wrote this kind
	}
	if !f.passes(string(e.Kind), e.ChannelID) {
		return nil
	}
	return e.cached(noReason,
		func() *Frame { return newFrame(string(e.Kind), e.membership(e.UserID), e.Cursor) })
}

// own returns the frame of the user's own join or leave.
func (e *Event) own(user, name string, f *Filter) *Frame {
	if !f.passesOwn(name) {
		return nil
	}
	return newFrame(name, e.membership(user), e.Cursor)
}

func (e *Event) membership(user string) membership {
	return membership{e.ChannelID, user, e.XType, e.OccurredAt, e.GuildID, e.Name, e.Reason}
}

// cached encodes a variant once. Two sessions may both find it missing; both results are the same.
func (e *Event) cached(variant Reason, encode func() *Frame) *Frame {
	f := e.frames[variant].Load()
	if f != nil {
		return f
	}
	f = encode()
	e.frames[variant].Store(f)
	return f
}

func (e *Event) messageFrame(user string, in Interval, f *Filter) *Frame {
	m := e.Message
	if in.Left == 0 && slices.Contains(e.Gone, user) {
		in.Left = e.Cursor.Seq // the router has not read the leave yet
	}
	outcome, reason := m.Facts().Decide(user)
	if outcome == Skip && !(reason == Author && f.Echo) || !f.passes(string(e.Kind), e.ChannelID) {
		return nil
	}
	if f.Wakeup && (outcome != Wake || e.Kind != MessageCreated) {
		return nil
	}
	if e.Kind != MessageCreated {
		// An edit wakes nobody. It goes to members who were in the channel at the message's place, and to the
		// admin, who heard the message without being a member.
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

// wakeDead returns the frame that reports that nobody works on a message any more. Everyone who heard the
// message hears it, and so does its author.
func (e *Event) wakeDead(user string, f *Filter) *Frame {
	if e.Message == nil || !f.passes(string(e.Kind), e.ChannelID) {
		return nil
	}
	outcome, reason := e.Message.Facts().Decide(user)
	if outcome == Skip && reason != Author {
		return nil
	}
	return e.aboutMessage()
}

// guardTripped returns the frame that reports that agents' messages in a channel wake nobody for now. Every
// member hears it.
func (e *Event) guardTripped(f *Filter) *Frame {
	if e.Message == nil || !f.passes(string(e.Kind), e.ChannelID) {
		return nil
	}
	return e.aboutMessage()
}

// aboutMessage returns the frame of an event that names a message and does not show it.
func (e *Event) aboutMessage() *Frame {
	return e.cached(noReason, func() *Frame {
		return newFrame(string(e.Kind), struct {
			membership
			MessageID uuid.UUID `json:"messageId"`
		}{e.membership(e.UserID), e.Message.ID}, e.Cursor)
	})
}

// variant returns the cached frame, or a new one for a reader who must not see the content.
func (e *Event) variant(reason Reason, in Interval, encode func() *Frame) *Frame {
	if e.Message.changedAfter(in) {
		return encode()
	}
	return e.cached(reason, encode)
}
