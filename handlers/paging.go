package handlers

import (
	"bytes"
	"net/http"
)

// pageBytes bounds a page of a list, in bytes of its items' JSON: what escaping adds counts. One item always fits.
const pageBytes = 1 << 20

// A listPage is the answer of every list, {"items":[…],"next":…}, as far as it is built. Where the list goes on, next
// is the place of the last item: it goes back in as after, in a history as before.
type listPage struct {
	limit int // of items
	n     int
	items bytes.Buffer
	last  string  // the place of the last item
	next  *string // nil: the list ends here
	err   error
}

// add appends an item with its place. It returns false where the page had no room for it, and then ends the page.
func (p *listPage) add(item any, place string) (more bool) {
	if p.err != nil || p.next != nil {
		return false
	}
	var b []byte
	if p.n < p.limit {
		b, p.err = encode(item)
		b = bytes.TrimSuffix(b, []byte("\n"))
	}
	if p.n == p.limit || p.n > 0 && p.items.Len()+len(b) > pageBytes {
		last := p.last
		p.next = &last
		return false
	}
	if p.n > 0 {
		p.items.WriteByte(',')
	}
	p.items.Write(b)
	p.n, p.last = p.n+1, place
	return p.err == nil
}

// write answers the page.
func (p *listPage) write(w http.ResponseWriter) error {
	if p.err != nil {
		return p.err
	}
	next, err := encode(p.next)
	if err != nil {
		return err
	}
	next = bytes.TrimSuffix(next, []byte("\n"))
	return write(w, http.StatusOK, []byte(`{"items":[`), p.items.Bytes(), []byte(`],"next":`), next, []byte("}\n"))
}
