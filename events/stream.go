package events

// This file makes the frames that are about the stream itself.

// A Ready is the data of stream.ready and stream.reset.
type Ready struct {
	Cursor   Cursor     `json:"cursor"`
	UserID   string     `json:"userId"`
	Reason   string     `json:"reason,omitempty"` // one of ResetReasons; empty: the stream is not reset
	Resumed  bool       `json:"resumed"`
	Channels *[]Channel `json:"channels,omitempty"` // nil: no snapshot
}

// Frame returns the stream.reset if r has a reason, else the stream.ready. A zero id makes a frame that does
// not move the client's cursor: a snapshot has its id on its last frame only.
func (r Ready) Frame(id Cursor) *Frame {
	if r.Reason != "" {
		return newFrame(StreamReset, r, id)
	}
	return newFrame(StreamReady, r, id)
}

// ChannelsFrame returns a stream.channels, the next part of a long snapshot. The id is as in Ready.Frame.
func ChannelsFrame(channels []Channel, id Cursor) *Frame {
	return newFrame(StreamChannels, struct {
		Channels []Channel `json:"channels"`
	}{channels}, id)
}

type position struct {
	Cursor Cursor `json:"cursor"`
}

// LiveFrame returns a stream.live: the backlog up to at is complete.
func LiveFrame(at Cursor) *Frame { return newFrame(StreamLive, position{at}, at) }

// CursorFrame returns a stream.cursor: the stream has passed at, and has shown all that was for the client.
func CursorFrame(at Cursor) *Frame { return newFrame(StreamCursor, position{at}, at) }

// ClosingFrame returns a stream.closing. The reason is one of ClosingReasons; reconnect says whether the
// client should come back.
func ClosingFrame(reason string, reconnect bool) *Frame {
	return newFrame(StreamClosing, struct {
		Reason    string `json:"reason"`
		Reconnect bool   `json:"reconnect"`
	}{reason, reconnect}, Cursor{})
}

// Heartbeat returns a frame that shows that a quiet stream is alive, and the position that it has reached. A
// nil at shows no position. The frame does not move a client's cursor.
func (o Format) Heartbeat(at *Cursor) *Frame {
	switch {
	case o.Beats || o.Lines:
		return newFrame(StreamHeartbeat, struct {
			Cursor *Cursor `json:"cursor,omitempty"`
		}{at}, Cursor{})
	case at == nil:
		return comment("hb")
	}
	return comment("hb " + at.String())
}
