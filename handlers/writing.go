package handlers

import (
	"net/http"
	"strconv"
	"time"
)

// A large answer is written in pieces of pieceBytes. The connection must take each piece within pieceTime,
// and the whole answer within answerTime. So a client that receives nothing soon loses its place.
const (
	pieceBytes = 64 << 10
	pieceTime  = 30 * time.Second
	answerTime = 90 * time.Second
)

// writeJSON encodes v and answers with it. It returns an error only if v cannot be encoded; then nothing has
// been written.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := encode(v)
	if err != nil {
		return err
	}
	return write(w, status, b)
}

// write answers with complete JSON, given in parts. It returns nil even if the client has gone. The request
// gives up its place among the readers of the database, so it must not read the database afterwards.
func write(w http.ResponseWriter, status int, parts ...[]byte) error {
	var length int
	for _, part := range parts {
		length += len(part)
	}
	w.Header().Set("Content-Length", strconv.Itoa(length))
	head(w, status)
	if rec := recorderOf(w); rec != nil {
		rec.hasRead()
	}
	out := newSender(w, length > pieceBytes)
	for _, part := range parts {
		if out.Write(part) != nil {
			return nil // the client is gone
		}
	}
	return nil
}

// head writes the status and the headers of a JSON answer.
func head(w http.ResponseWriter, status int) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
}

// A sender writes the body of an answer. It writes in pieces, and if the body is large, each piece has its
// own deadline.
type sender struct {
	w     http.ResponseWriter
	ctl   *http.ResponseController
	large bool
	until time.Time // the deadline of the whole answer
}

func newSender(w http.ResponseWriter, large bool) *sender {
	return &sender{w, http.NewResponseController(w), large, time.Now().Add(answerTime)}
}

// Write writes b and blocks until the connection has taken it. It returns an error if the client has gone, or
// if a large answer misses a deadline.
func (s *sender) Write(b []byte) error {
	for len(b) > 0 {
		if s.large {
			piece := time.Now().Add(pieceTime)
			if piece.After(s.until) {
				piece = s.until
			}
			_ = s.ctl.SetWriteDeadline(piece) // without support for deadlines, the server's own timeout applies
		}
		n := min(pieceBytes, len(b))
		if _, err := s.w.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
