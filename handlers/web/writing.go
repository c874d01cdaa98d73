package web

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"fabric-guild/events"
)

// A large answer is written in pieces of pieceBytes. The connection must take each piece within pieceTime,
// and the whole answer within answerTime. So a client that receives nothing soon loses its place.
const (
	pieceBytes = 64 << 10
	pieceTime  = 30 * time.Second
	answerTime = 90 * time.Second
)

// An Appender appends itself to b as Encode would encode it. It is for what is encoded often.
type Appender interface{ AppendJSON(b []byte) []byte }

// Encode returns v as JSON on one line, which every reader takes for one line (events.OneLine). It does not
// escape < and >, so that mentions stay as they were written.
func Encode(v any) ([]byte, error) {
	if a, ok := v.(Appender); ok {
		return append(a.AppendJSON(nil), '\n'), nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return events.OneLine(b.Bytes()), err
}

// WriteJSON encodes v and answers with it. It returns an error only if v cannot be encoded; then nothing has
// been written.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	b, err := Encode(v)
	if err != nil {
		return err
	}
	return Write(w, status, b)
}

// Write answers with complete JSON, given in parts. It returns nil even if the client has gone. An Observer
// is told before the answer begins.
func Write(w http.ResponseWriter, status int, parts ...[]byte) error {
	var length int
	for _, part := range parts {
		length += len(part)
	}
	w.Header().Set("Content-Length", strconv.Itoa(length))
	writeHead(w, status)
	if o, ok := Find[Observer](w); ok {
		o.Answering("")
	}
	out := newSender(w, length > pieceBytes)
	for _, part := range parts {
		if out.Write(part) != nil {
			return nil // the client is gone
		}
	}
	return nil
}

// writeHead writes the status and the headers of a JSON answer.
func writeHead(w http.ResponseWriter, status int) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
}

// BeginJSON begins a large JSON answer, whose parts the caller writes to the Sender.
func BeginJSON(w http.ResponseWriter, status int) *Sender {
	writeHead(w, status)
	return newSender(w, true)
}

// A Sender writes the body of an answer. It writes in pieces, and if the body is large, each piece has its
// own deadline.
type Sender struct {
	w     http.ResponseWriter
	ctl   *http.ResponseController
	large bool
	until time.Time // the deadline of the whole answer
}

func newSender(w http.ResponseWriter, large bool) *Sender {
	return &Sender{w, http.NewResponseController(w), large, time.Now().Add(answerTime)}
}

// Write writes b and blocks until the connection has taken it. It returns an error if the client has gone, or
// if a large answer misses a deadline.
func (s *Sender) Write(b []byte) error {
	for len(b) > 0 {
		if s.large {
			piece := time.Now().Add(pieceTime)
			if piece.After(s.until) {
				piece = s.until
			}
			// without support for deadlines, the server's own timeout applies
			_ = s.ctl.SetWriteDeadline(piece)
		}
		n := min(pieceBytes, len(b))
		if _, err := s.w.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
