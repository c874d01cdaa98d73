package tail

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
)

// objects prints for programs: each event as a line of JSON.
type objects struct {
	to    io.Writer
	wants func(name string) bool
}

func (o *objects) take(ctx context.Context, e event) error {
	if e.ofLog() && !o.wants(e.Name) || !e.ofLog() && !e.isSnapshot() {
		return nil
	}
	return write(ctx, o.to, e.line())
}

// line is the event as {id,event,data} and the end of the line, in one piece.
func (e *event) line() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // a mention is to be read as it was written
	if err := enc.Encode(struct {
		ID    string          `json:"id,omitempty"`
		Event string          `json:"event"`
		Data  json.RawMessage `json:"data"`
	}{e.ID, e.Event.Name, e.Data}); err != nil {
		panic("tail: encode an event: " + err.Error()) // its data is valid
	}
	return append(plainJSON(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), '\n')
}
