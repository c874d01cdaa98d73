package web

import (
	"bytes"
	"net/http"
)

// pageBytes limits a page of a list, in bytes of the JSON of its items, including escapes. A page always has
// room for one item.
const pageBytes = 1 << 20

// A Page builds the answer of a list, {"items":[…],"next":…}. If the list goes on, next is the place
// of the last item. The client sends next as the parameter after of the next request, or as before in a
// history.
type Page struct {
	Limit int // how many items the page may have
	n     int
	items bytes.Buffer
	last  string  // the place of the last item
	next  *string // nil: the list ends here
	err   error
}

// Add appends an item with its place. It returns false if the page is full, and then the page ends before the
// item. It also returns false if the item cannot be encoded, and then Write returns the error.
func (p *Page) Add(item any, place string) (more bool) {
	if p.err != nil || p.next != nil {
		return false
	}
	var b []byte
	if p.n < p.Limit {
		b, p.err = Encode(item)
		b = bytes.TrimSuffix(b, []byte("\n"))
	}
	if p.n == p.Limit || p.n > 0 && p.items.Len()+len(b) > pageBytes {
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

// More reports whether the list goes on after the page.
func (p *Page) More() bool { return p.next != nil }

// AddLast appends the last item of a list, which has no place and does not count against Limit.
func (p *Page) AddLast(item any) {
	p.Limit++
	p.Add(item, "")
}

// Write answers the request with the page.
func (p *Page) Write(w http.ResponseWriter) error {
	if p.err != nil {
		return p.err
	}
	next, err := Encode(p.next)
	if err != nil {
		return err
	}
	next = bytes.TrimSuffix(next, []byte("\n"))
	return Write(w, http.StatusOK, []byte(`{"items":[`), p.items.Bytes(), []byte(`],"next":`), next,
		[]byte("}\n"))
}
