package follow

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/r3labs/sse/v2"

	"fabric-guild/events"
)

// What a server sends can be read; so this is something else.
var errForeign = errors.New("what came is no event of a stream of this kind")

// take handles what r3labs has read: an event, a new time to wait, or a comment, which it hands on like an
// event once there was an id. An error ends the connection.
func (f *follower) take(m *sse.Event) error {
	if len(m.Retry) > 0 {
		f.pause.set(string(m.Retry))
	}
	if len(m.Data) == 0 {
		return nil
	}
	if !json.Valid(m.Data) {
		return errForeign
	}
	e := Event{string(m.ID), string(m.Event), m.Data}
	own := strings.HasPrefix(e.Name, events.OwnPrefix)
	id, err := events.ParseCursor(e.ID)
	switch {
	case e.Name == events.StreamClosing:
		return closing(e.Data)
	case err != nil && !(own && e.ID == ""): // of a snapshot that goes on
		return errForeign
	case !own && f.seen(id):
		return nil
	}
	if err := f.handle(e); err != nil {
		return ending{err}
	}
	if e.ID != f.at || e.Name == events.StreamLive {
		f.live()
	}
	f.at = e.ID
	return nil
}

// seen reports whether an event has been handled: within an epoch cursors compare by number.
func (f *follower) seen(id events.Cursor) bool {
	at, err := events.ParseCursor(f.at)
	return err == nil && at.Epoch == id.Epoch && id.Seq <= at.Seq
}

// live notes that the stream has moved: whatever was wrong is over.
func (f *follower) live() {
	f.known, f.wasLive = true, true
	f.pause.failures = 0
	if f.troubled {
		f.troubled = false
		f.notice("following again")
	}
}

// closing is why the server ends the stream.
func closing(data []byte) error {
	var bye struct {
		Reason    string
		Reconnect bool
	}
	if err := json.Unmarshal(data, &bye); err != nil {
		return errForeign
	}
	switch {
	case bye.Reconnect:
		return errEnded
	case strings.HasPrefix(bye.Reason, "token_"):
		return &Refusal{Status: http.StatusUnauthorized, Code: bye.Reason}
	}
	return &Refusal{Status: noStatus, Code: bye.Reason}
}
