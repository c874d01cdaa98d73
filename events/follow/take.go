package follow

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/r3labs/sse/v2"

	"fabric-guild/events"
	"fabric-guild/events/remote"
)

// errForeign is the error of a frame that no server of ours sends.
var errForeign = errors.New("the connection sent something that is no event of this kind of stream")

// take handles a frame that r3labs has read: an event, a new retry time, or a comment. After the first id,
// r3labs passes comments on like events, but without data. An error of take ends the connection.
func (f *follower) take(m *sse.Event) error {
	if len(m.Retry) > 0 {
		f.backoff.SetRetry(string(m.Retry))
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
	case slices.Contains(events.SignalNames, e.Name): // a signal has no id, and is no event of the event log
		return nil
	case err != nil && !(own && e.ID == ""): // a frame in the middle of a snapshot has no id
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

// seen reports whether the event with this id was handled. Cursors of the same epoch compare by number.
func (f *follower) seen(id events.Cursor) bool {
	at, err := events.ParseCursor(f.at)
	return err == nil && at.Epoch == id.Epoch && id.Seq <= at.Seq
}

// live records that the stream works. It resets the backoff, and ends the trouble if there was any.
func (f *follower) live() {
	f.known = true
	f.wasLive = true
	f.backoff.Reset()
	if f.troubled {
		f.troubled = false
		f.notice("following again")
	}
}

// closing returns the error for a stream.closing frame: errEnded if the client may reconnect, otherwise a
// *remote.Refusal.
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
		return &remote.Refusal{Status: http.StatusUnauthorized, Code: bye.Reason}
	}
	return &remote.Refusal{Status: remote.NoStatus, Code: bye.Reason}
}
