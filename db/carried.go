package db

import (
	"crypto/sha256"
	"encoding/binary"
	"reflect"
	"slices"
	"strings"
	"time"

	"fabric-guild/events"

	"github.com/google/uuid"
)

// A carrier writes an event for another server, or reads one. fields has one list for both directions. The
// encoding is a sequence of numbers (varints), texts (a length and bytes) and ids (16 bytes).
type carrier struct {
	reading bool
	written []byte
	rest    string // to read
	broken  bool   // what was read is no event
}

// encodeEvent returns e as another server reads it.
func encodeEvent(e *events.Event) []byte {
	c := carrier{written: make([]byte, 0, e.FrameSize())}
	c.fields(e)
	return c.written
}

// decodeEvents returns the events that encodeEvent wrote one after the other. Their texts share the memory of
// encoded. It returns nothing if encoded is malformed.
func decodeEvents(encoded string) []*events.Event {
	var found []*events.Event
	c := carrier{reading: true, rest: encoded}
	for c.rest != "" {
		e := new(events.Event)
		c.fields(e)
		if c.broken {
			return nil
		}
		if e.Message != nil {
			e.Message.Settle()
		}
		found = append(found, e)
	}
	return found
}

// fields lists the fields of an event, and message those of its message. A test fails if a field is missing.
// Writing an event does not change it.
func (c *carrier) fields(e *events.Event) {
	c.number(&e.Cursor.Epoch)
	c.number(&e.Cursor.Seq)
	text(c, &e.Kind)
	text(c, &e.UserID)
	c.instant(&e.OccurredAt)
	c.id(&e.ChannelID)
	text(c, &e.GuildID)
	text(c, &e.Name)
	text(c, &e.XType)
	c.list(&e.Joined)
	c.list(&e.Gone)
	text(c, &e.Admin)
	text(c, &e.Reason)
	if c.present(e.Message != nil) {
		if c.reading {
			e.Message = new(events.Message)
		}
		c.message(e.Message)
	}
}

func (c *carrier) message(m *events.Message) {
	c.id(&m.ID)
	c.id(&m.ChannelID)
	text(c, &m.GuildID)
	text(c, &m.XType)
	text(c, &m.AuthorUserID)
	text(c, &m.AuthorKind)
	text(c, &m.AuthorName)
	text(c, &m.Content)
	c.list(&m.MentionUserIDs)
	if c.present(m.ReplyTo != nil) {
		if c.reading {
			m.ReplyTo = new(uuid.UUID)
		}
		c.id(m.ReplyTo)
	}
	text(c, &m.ReplyToUserID)
	c.instant(&m.CreatedAt)
	if c.present(m.EditedAt != nil) {
		if c.reading {
			m.EditedAt = new(events.Time)
		}
		c.instant(m.EditedAt)
	}
	c.flag(&m.Deleted)
	c.flag(&m.Redacted)
	text(c, &m.TurnUserID)
	c.number(&m.Seq)
	c.number(&m.EditedSeq)
	c.list(&m.WakeList)
	text(c, &m.Admin)
	c.flag(&m.TwoState)
	c.flag(&m.ByAgent)
	text(c, &m.Bound)
}

// encoding must change if fields encodes the same fields in another way.
const encoding = "2\n"

// layout is a digest of the fields of an event. Servers whose fields differ must not read each other's
// events.
var layout = func() string {
	sum := sha256.Sum256([]byte(encoding + describe(reflect.TypeFor[events.Event]()) +
		describe(reflect.TypeFor[events.Message]())))
	return string(sum[:])
}()

// describe lists the exported fields of a struct with their types.
func describe(t reflect.Type) string {
	var text strings.Builder
	text.WriteString(t.Name() + "\n")
	for _, f := range reflect.VisibleFields(t) {
		if f.IsExported() {
			text.WriteString(f.Name + " " + f.Type.String() + "\n")
		}
	}
	return text.String()
}

func (c *carrier) number(v *int64) {
	if !c.reading {
		c.written = binary.AppendVarint(c.written, *v)
		return
	}
	// A varint has at most binary.MaxVarintLen64 bytes.
	head := [binary.MaxVarintLen64]byte{}
	n, size := binary.Varint(head[:copy(head[:], c.rest)])
	if size <= 0 {
		c.fail()
		return
	}
	*v = n
	c.rest = c.rest[size:]
}

// present writes whether something is there, or reads it.
func (c *carrier) present(is bool) bool {
	var n int64
	if is {
		n = 1
	}
	c.number(&n)
	return n != 0
}

func (c *carrier) flag(v *bool) {
	is := c.present(*v)
	if c.reading {
		*v = is
	}
}

func (c *carrier) instant(v *events.Time) {
	n := v.UnixMicro()
	c.number(&n)
	if c.reading {
		v.Time = time.UnixMicro(n)
	}
}

func (c *carrier) id(v *uuid.UUID) {
	if !c.reading {
		c.written = append(c.written, v[:]...)
		return
	}
	if len(c.rest) < len(v) {
		c.fail()
		return
	}
	copy(v[:], c.rest)
	c.rest = c.rest[len(v):]
}

func text[S ~string](c *carrier, v *S) {
	n := int64(len(*v))
	c.number(&n)
	if !c.reading {
		c.written = append(c.written, *v...)
		return
	}
	if n < 0 || n > int64(len(c.rest)) {
		c.fail()
		return
	}
	*v = S(c.rest[:n])
	c.rest = c.rest[n:]
}

// list keeps the difference between nil and an empty list.
func (c *carrier) list(v *[]string) {
	if !c.present(*v != nil) {
		return
	}
	n := int64(len(*v))
	c.number(&n)
	if c.reading {
		if n < 0 || n > int64(len(c.rest)) { // each text takes a byte at least
			c.fail()
			return
		}
		*v = slices.Grow([]string{}, int(n))[:n]
	}
	for i := range *v {
		text(c, &(*v)[i])
	}
}

// fail ends reading.
func (c *carrier) fail() {
	c.broken = true
	c.rest = ""
}
