package handlers

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"

	"fabric-guild/events"

	"github.com/google/uuid"
)

// syncChannels is how many channels of a /api/sync are in memory at once.
const syncChannels = 500

// sync answers the caller's channels, exact as of the cursor: a stream that resumes there misses nothing. An answer
// with many goes out as it is read.
func (s *Server) sync(w http.ResponseWriter, r *http.Request) error {
	id, err := s.caller(w, r)
	if err != nil {
		return err
	}
	if _, err := query(r); err != nil {
		return err
	}
	var at events.Cursor
	var ids []uuid.UUID
	err = s.readPart(r, func(ctx context.Context) (err error) {
		if at, err = s.db.Head(ctx); err != nil {
			return err
		}
		ids, err = s.db.ChannelIDs(ctx, id.UserID, at.Seq)
		return err
	})
	if err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"cursor":%q,"userId":%q,"channels":[`, at, id.UserID) // neither needs more than quotes
	var out *sender
	separator := ""
	for part := range slices.Chunk(ids, syncChannels) {
		if b.Len() > 0 && separator != "" { // of the first part an error can still be told
			if out == nil {
				out = newSender(w, true)
				head(w, http.StatusOK)
			}
			if out.Write(b.Bytes()) != nil {
				return nil // the client is gone
			}
			b.Reset()
		}
		var channels []events.Channel
		err := s.readPart(r, func(ctx context.Context) (err error) {
			channels, err = s.db.ChannelsAsOf(ctx, part, id.Guilds, at.Seq)
			return err
		})
		if err != nil && out != nil {
			s.logger.ErrorContext(r.Context(), "answer cut off", "request_id", w.Header().Get(requestIDHeader), "error", err)
			panic(http.ErrAbortHandler) // what has been sent must not look complete
		}
		if err != nil {
			return err
		}
		for _, c := range channels {
			one, err := encode(c)
			if err != nil {
				return err
			}
			b.WriteString(separator)
			b.Write(bytes.TrimSuffix(one, []byte("\n")))
			separator = ","
		}
	}
	b.WriteString("]}\n")
	if out == nil {
		return write(w, http.StatusOK, b.Bytes())
	}
	_ = out.Write(b.Bytes()) // the client may be gone
	return nil
}

// readPart reads a part of an answer, with a place among those who read the database and a time of its own: how long
// the client takes for the parts before it does not count.
func (s *Server) readPart(r *http.Request, read func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), requestTimeout)
	defer cancel()
	done, err := s.db.Reading(ctx)
	if err != nil {
		return err
	}
	defer done()
	return read(ctx)
}
