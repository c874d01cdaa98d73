package tail

import (
	"bytes"
	"context"
	"encoding/json"
	"io"

	"fabric-guild/events/remote"
)

// objects prints for programs. It prints each event as one line of JSON.
type objects struct {
	to    io.Writer
	wants func(name string) bool
}

// take is a sink. Of the stream's own events it prints only those with channels.
func (o *objects) take(ctx context.Context, e event) error {
	if e.ofLog() && !o.wants(e.Name) || !e.ofLog() && !e.isSnapshot() {
		return nil
	}
	return write(ctx, o.to, e.line())
}

// line returns the event as {id,event,data} with a newline.
func (e *event) line() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // a mention such as <@bob> must stay readable
	if err := enc.Encode(struct {
		ID    string          `json:"id,omitempty"`
		Event string          `json:"event"`
		Data  json.RawMessage `json:"data"`
	}{e.ID, e.Event.Name, e.Data}); err != nil {
		panic("tail: encode an event: " + err.Error()) // impossible: follow passes on only valid JSON
	}
	return append(remote.PlainJSON(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), '\n')
}
