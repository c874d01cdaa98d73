package handlers

import (
	"bytes"
	"net/http"
	"time"

	"fabric-guild/handlers/console"

	"github.com/julienschmidt/httprouter"
)

// page serves the console: index.html at /, and what it asks for below /console.
func (s *Server) page(w http.ResponseWriter, r *http.Request) error {
	name := "index.html"
	if r.URL.Path != "/" {
		name = httprouter.ParamsFromContext(r.Context()).ByName("file")
	}
	f, ok := console.Open(name)
	if !ok {
		s.notFound(w, r)
		return nil
	}
	h := w.Header()
	h.Set("Content-Type", f.ContentType)
	h.Set("Content-Security-Policy", console.Policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache") // asked for anew each time, and not sent again while it is the same
	h.Set("ETag", f.ETag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.Body))
	return nil
}
