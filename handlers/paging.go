package handlers

import (
	"bytes"
	"net/http"
)

// pageBytes limits a page of a list, in bytes of the JSON of its items, including escapes. A page always has
// room for one item.
const pageBytes = 1 << 20

// A listPage builds the answer of a list, {"items":[…],"next":…}. If the list goes on, next is the place
// of the last item. The client sends next as the parameter after of the next request, or as before in a
// history.
type listPage struct {
	limit int // how many items the page may have
	n     int
	items bytes.Buffer
	last  string  // the place of the last item
	next  *string // nil: the list ends here
	err   error
}

// add appends an item with its place. It returns false if the page is full, and then the page ends before the
// item. It also returns false if the item cannot be encoded, and then write returns the error.
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

// write answers the request with the page.
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
