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

// A carrier writes an event for another server, or reads one. It takes every exported field, in the order of
// the type. The encoding is a sequence of numbers (varints), texts (a length and bytes) and ids (16 bytes).
type carrier struct {
	reading bool
	written []byte
	rest    string // to read
	broken  bool   // what was read is no event
}

// encodeEvent returns e as another server reads it.
func encodeEvent(e *events.Event) []byte {
	c := carrier{written: make([]byte, 0, e.FrameSize())}
	c.fields(reflect.ValueOf(e).Elem())
	return c.written
}

// decodeEvents returns the events that encodeEvent wrote one after the other. Their texts share the memory of
// encoded. It returns nothing if encoded is malformed.
func decodeEvents(encoded string) []*events.Event {
	var found []*events.Event
	c := carrier{reading: true, rest: encoded}
	for c.rest != "" {
		e := new(events.Event)
		c.fields(reflect.ValueOf(e).Elem())
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

// fields writes or reads the fields of a struct. Writing does not change the struct, which others may read
// meanwhile.
func (c *carrier) fields(v reflect.Value) {
	for _, i := range carried[v.Type()] {
		c.field(v.Field(i))
	}
}

// field writes or reads one field. A test finds a field of a kind that is not listed here.
func (c *carrier) field(v reflect.Value) {
	switch p := v.Addr().Interface().(type) {
	case *int64:
		c.number(p)
		return
	case *bool:
		c.flag(p)
		return
	case *uuid.UUID:
		c.id(p)
		return
	case *events.Time:
		c.instant(p)
		return
	case *[]string:
		c.list(p)
		return
	}
	switch v.Kind() {
	case reflect.String: // of any named type
		text := v.String()
		c.text(&text)
		if c.reading {
			v.SetString(text)
		}
	case reflect.Pointer:
		if !c.present(!v.IsNil()) {
			return
		}
		if c.reading {
			v.Set(reflect.New(v.Type().Elem()))
		}
		c.field(v.Elem())
	case reflect.Struct:
		c.fields(v)
	}
}

// carried has the indices of the exported fields of each struct of an event.
var carried = exported(reflect.TypeFor[events.Event](), reflect.TypeFor[events.Cursor](),
	reflect.TypeFor[events.Message]())

func exported(structs ...reflect.Type) map[reflect.Type][]int {
	fields := map[reflect.Type][]int{}
	for _, t := range structs {
		for i := range t.NumField() {
			if t.Field(i).IsExported() {
				fields[t] = append(fields[t], i)
			}
		}
	}
	return fields
}

// encoding must change if a carrier encodes the same fields in another way.
const encoding = "3\n"

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

func (c *carrier) text(v *string) {
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
	*v = c.rest[:n]
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
		c.text(&(*v)[i])
	}
}

// fail ends reading.
func (c *carrier) fail() {
	c.broken = true
	c.rest = ""
}
