package handlers

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"fabric-guild/events"
	"fabric-guild/handlers/web"

	"github.com/google/uuid"
)

// syncChannels is how many channels of one answer to /api/sync are in memory at once.
const syncChannels = 500

// unreadChannels is how many they are with unread=true: there may be a hundred messages to count in each.
const unreadChannels = 200

// sync answers with the caller's channels, exactly as of the cursor in the answer: a stream that resumes at
// the cursor misses nothing. If there are more than syncChannels, sync writes each part of the answer before
// it reads the next.
func (s *Server) sync(w http.ResponseWriter, r *http.Request) error {
	id, err := s.caller(w, r)
	if err != nil {
		return err
	}
	q, err := web.Query(r, "unread")
	if err != nil {
		return err
	}
	unread, err := web.Bool(q, "unread")
	if err != nil {
		return err
	}
	size := syncChannels
	if unread {
		size = unreadChannels
	}
	var at events.Cursor
	var ids []uuid.UUID
	rec := recorderOf(w)
	err = s.readPart(rec, r, func(ctx context.Context) (err error) {
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
	// %q makes valid JSON here: neither a cursor nor a user id has a character that needs an escape.
	fmt.Fprintf(&b, `{"cursor":%q,"userId":%q,"channels":[`, at, id.UserID)
	var out *web.Sender
	separator := ""
	for part := range slices.Chunk(ids, size) {
		if b.Len() > 0 && separator != "" { // an error in the first part can still be answered
			if out == nil {
				out = web.BeginJSON(w, http.StatusOK)
			}
			if out.Write(b.Bytes()) != nil {
				return nil // the client is gone
			}
			b.Reset()
			s.beginWork(rec, id.UserID) // the write has charged what came before it
		}
		var channels []channelItem
		err := s.readPart(rec, r, func(ctx context.Context) error {
			found, err := s.db.ChannelsAsOf(ctx, part, id.Guilds, at.Seq)
			if err != nil {
				return err
			}
			channels, err = s.channelItems(ctx, id.UserID, found, unread, at.Seq)
			return err
		})
		if err != nil && out != nil {
			s.logger.ErrorContext(r.Context(), "answer cut off", "request_id",
				w.Header().Get(web.RequestIDHeader), "error", err)
			panic(http.ErrAbortHandler) // the part that was sent must not look complete
		}
		if err != nil {
			return err
		}
		for _, c := range channels {
			one, err := web.Encode(c)
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
		return web.Write(w, http.StatusOK, b.Bytes())
	}
	_ = out.Write(b.Bytes()) // the client may be gone
	return nil
}

// readPart calls read with a place among the readers of the database. It blocks until there is a place. Each
// part has its own requestTimeout, so the time that the client takes to receive earlier parts does not count.
func (s *Server) readPart(rec *recorder, r *http.Request, read func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), requestTimeout)
	defer cancel()
	waiting := time.Now()
	done, err := s.db.Reading(ctx)
	rec.waited(waiting)
	if err != nil {
		return err
	}
	defer done()
	return read(ctx)
}
