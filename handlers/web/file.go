package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"time"
)

// A File is an embedded file as it is served. Its fields must not be changed.
type File struct {
	ContentType string
	ETag        string // quoted, as the header has it
	Body        []byte
}

// NewFile returns a File, whose ETag is a hash of body.
func NewFile(contentType string, body []byte) File {
	sum := sha256.Sum256(body)
	return File{contentType, `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`, body}
}

// Serve answers with the file. Clients must revalidate the file each time, and get 304 while the file is
// unchanged. policy is its Content-Security-Policy.
func (f File) Serve(w http.ResponseWriter, r *http.Request, policy string) {
	h := w.Header()
	h.Set("Content-Type", f.ContentType)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", f.ETag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.Body))
}
