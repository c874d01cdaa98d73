package events

import (
	"errors"
	"strconv"
	"strings"
)

// A Cursor is a position in the event log within one epoch. Seq is the number of a committed event, or the
// base of the epoch. The text form is "<epoch>.<seq>", and it is also the id of a frame. Cursors of the same
// epoch compare by Seq.
type Cursor struct {
	Epoch int64
	Seq   int64
}

// ErrMalformedCursor is the error of ParseCursor for a text that this server cannot have sent.
var ErrMalformedCursor = errors.New(`a cursor is "<epoch>.<number>", as the server sent it`)

// ParseCursor reads the form that String writes, and no other form: no signs, no blanks, no leading zeros.
// Its only error is ErrMalformedCursor.
func ParseCursor(s string) (Cursor, error) {
	epochText, seqText, ok := strings.Cut(s, ".")
	if !ok {
		return Cursor{}, ErrMalformedCursor
	}
	epoch, err := strconv.ParseInt(epochText, 10, 64)
	if err != nil || epoch <= 0 {
		return Cursor{}, ErrMalformedCursor
	}
	seq, err := strconv.ParseInt(seqText, 10, 64)
	if err != nil || seq < 0 {
		return Cursor{}, ErrMalformedCursor
	}
	c := Cursor{epoch, seq}
	if c.String() != s {
		return Cursor{}, ErrMalformedCursor
	}
	return c, nil
}

func (c Cursor) String() string { return string(c.append(nil)) }

// MarshalText makes a cursor a string in JSON.
func (c Cursor) MarshalText() ([]byte, error) { return c.append(nil), nil }

// UnmarshalText reads the form that MarshalText writes.
func (c *Cursor) UnmarshalText(b []byte) (err error) {
	*c, err = ParseCursor(string(b))
	return err
}

func (c Cursor) append(b []byte) []byte {
	b = strconv.AppendInt(b, c.Epoch, 10)
	b = append(b, '.')
	return strconv.AppendInt(b, c.Seq, 10)
}
