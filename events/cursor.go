// Package events is the reading side of the guild: cursors, delivery rules, and the way of an event from
// the log to the streams of those who may hear it.
//
//	log ──▶ Tailer ──▶ Router ──▶ Session ──▶ Transport
//
// The Tailer reads the log in order. The Router knows which channels the users here are members of, and
// keeps a ring of recent events. A Session is one connection's position: it catches up from the log or the
// ring, then lives off a bounded queue. A Transport writes whole frames. The package knows neither routes
// nor SQL.
package events

import (
	"errors"
	"strconv"
	"strings"
)

// A Cursor is a position in the log: the number of an event that was committed, or an epoch's base, in one
// life of the database. On the wire it is "<epoch>.<seq>", which is also the id of a frame. Within an epoch
// cursors compare by Seq.
type Cursor struct {
	Epoch int64
	Seq   int64
}

// ErrMalformedCursor is what ParseCursor answers to anything that no server of ours can have sent.
var ErrMalformedCursor = errors.New(`a cursor is "<epoch>.<number>", as the server sent it`)

// ParseCursor reads the form that String writes, and nothing else: no signs, no blanks, no leading zeros.
func ParseCursor(s string) (Cursor, error) {
	epoch, seq, ok := strings.Cut(s, ".")
	if !ok {
		return Cursor{}, ErrMalformedCursor
	}
	var c Cursor
	var err error
	if c.Epoch, err = strconv.ParseInt(epoch, 10, 64); err != nil || c.Epoch <= 0 {
		return Cursor{}, ErrMalformedCursor
	}
	if c.Seq, err = strconv.ParseInt(seq, 10, 64); err != nil || c.Seq < 0 {
		return Cursor{}, ErrMalformedCursor
	}
	if c.String() != s {
		return Cursor{}, ErrMalformedCursor
	}
	return c, nil
}

func (c Cursor) String() string { return string(c.append(nil)) }

// MarshalText makes a cursor a string in JSON.
func (c Cursor) MarshalText() ([]byte, error) { return c.append(nil), nil }

// UnmarshalText reads what MarshalText wrote.
func (c *Cursor) UnmarshalText(b []byte) (err error) {
	*c, err = ParseCursor(string(b))
	return err
}

func (c Cursor) append(b []byte) []byte {
	b = strconv.AppendInt(b, c.Epoch, 10)
	b = append(b, '.')
	return strconv.AppendInt(b, c.Seq, 10)
}
