package web

import (
	"crypto/sha256"
	"encoding/base64"
)

// A File is an answer that is the same for everybody, such as a page of the documentation. Body must not be
// changed.
type File struct {
	ContentType string
	ETag        string // quoted, as the header has it
	Body        []byte
}

// NewFile returns a file with the ETag of its body.
func NewFile(contentType string, body []byte) File {
	sum := sha256.Sum256(body)
	return File{contentType, `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`, body}
}
