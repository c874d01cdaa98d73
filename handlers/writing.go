package handlers

import (
	"net/http"
	"strconv"
	"time"
)

// A large answer goes out in pieces, each of which the client must begin to take within pieceTime: whoever takes nothing
// gives their place up soon. The whole answer has answerTime.
const (
	pieceBytes = 64 << 10
	pieceTime  = 30 * time.Second
	answerTime = 90 * time.Second
)

func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := encode(v)
	if err != nil {
		return err
	}
	return write(w, status, b)
}

// write answers with JSON that is complete, in parts. From here on the request reads nothing more.
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

// head sends the head of an answer of JSON.
func head(w http.ResponseWriter, status int) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
}

// A sender writes a body. A large one goes in pieces, each under a deadline of its own.
type sender struct {
	w     http.ResponseWriter
	ctl   *http.ResponseController
	large bool
	until time.Time
}

func newSender(w http.ResponseWriter, large bool) *sender {
	return &sender{w, http.NewResponseController(w), large, time.Now().Add(answerTime)}
}

// Write fails where the client takes nothing for pieceTime, or is gone.
func (s *sender) Write(b []byte) error {
	for len(b) > 0 {
		if s.large {
			piece := time.Now().Add(pieceTime)
			if piece.After(s.until) {
				piece = s.until
			}
			_ = s.ctl.SetWriteDeadline(piece) // where that is not possible, the server's own bound holds
		}
		n := min(pieceBytes, len(b))
		if _, err := s.w.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
