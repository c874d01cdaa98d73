package handlers

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"fabric-guild/db"
	"fabric-guild/events"
	"fabric-guild/handlers/web"

	"github.com/google/uuid"
)

type queuedItem struct {
	ID         *uuid.UUID   `json:"id,omitempty"`
	ChannelID  uuid.UUID    `json:"channelId"`
	Reason     string       `json:"reason,omitempty"`
	Attempts   int          `json:"attempts"`
	At         events.Time  `json:"at"`
	LeaseUntil *events.Time `json:"leaseUntil,omitempty"`
	NotBefore  *events.Time `json:"notBefore,omitempty"`
	Worker     *string      `json:"worker,omitempty"`
	Status     *string      `json:"status,omitempty"`
	Outcome    *string      `json:"outcome,omitempty"`
	Note       *string      `json:"note,omitempty"`
	Error      *string      `json:"error,omitempty"`
}

type queueAnswer struct {
	Pending []queuedItem `json:"pending"`
	Claimed []queuedItem `json:"claimed"`
	Dead    []queuedItem `json:"dead"`
	Behind  bool         `json:"behind,omitempty"`
	Next    *string      `json:"next"`
}

func queued(all []db.QueuedWake) []queuedItem {
	items := make([]queuedItem, len(all))
	for i, w := range all {
		items[i] = queuedItem{
			ID: w.ID, ChannelID: w.ChannelID, Attempts: w.Attempts, At: w.At, LeaseUntil: w.LeaseUntil,
			NotBefore: w.NotBefore, Worker: w.Worker, Status: w.Status, Outcome: w.Outcome, Note: w.Note,
			Error: w.Error,
		}
		if w.Outcome == nil {
			items[i].Reason = w.Reason().String()
		}
	}
	return items
}

// listWakes shows the caller's queue: GET /api/wakes. The first page scans first, and creates no queue.
func (s *Server) listWakes(w http.ResponseWriter, r *http.Request) error {
	id, err := s.caller(w, r)
	if err != nil {
		return err
	}
	q, err := web.Query(r, "limit", "after")
	if err != nil {
		return err
	}
	asked, err := web.PageLimit(q)
	if err != nil {
		return err
	}
	after, afterSeq, err := placeInQueue(q.Get("after"))
	if err != nil {
		return err
	}
	a := queueAnswer{}
	if q.Get("after") == "" {
		a.Behind, err = s.db.ScanWakes(r.Context(), id.UserID, s.router.Position())
		if err != nil && !errors.Is(err, db.ErrNotFound) {
			return err
		}
		a.Behind = a.Behind && err == nil
	}
	list, err := s.db.ListWakes(r.Context(), id.UserID, id.Guilds, after, afterSeq, asked)
	if err != nil {
		return err
	}
	a.Next = endPage(&list, asked)
	a.Pending = queued(list.Pending)
	a.Claimed = queued(list.Claimed)
	a.Dead = queued(list.Dead)
	return web.WriteJSON(w, http.StatusOK, a)
}

// placeInQueue reads a place in a user's queue: a channel and a number. Empty is the beginning.
func placeInQueue(s string) (channel uuid.UUID, seq int64, err error) {
	if s == "" {
		return channel, 0, nil
	}
	name, number, _ := strings.Cut(s, ".")
	channel, ok := web.ParseID(name)
	seq, err = strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || seq < 0 {
		return channel, 0, web.Malformed(web.FieldError{
			Field: "after", Detail: "must be the value of next in an earlier page",
		})
	}
	return channel, seq, nil
}

// endPage returns where the next page begins. Live and dead wakes are two lists in one order, each of which
// ends at the limit: the page reaches as far as the shorter of them. endPage removes what lies beyond. The
// next page lists it.
func endPage(l *db.WakeList, limit int) (next *string) {
	live := slices.Concat(l.Pending, l.Claimed)
	var ends []db.QueuedWake
	if len(live) == limit {
		ends = append(ends, slices.MaxFunc(live, inQueue))
	}
	if len(l.Dead) == limit {
		ends = append(ends, slices.MaxFunc(l.Dead, inQueue))
	}
	if len(ends) == 0 {
		return nil
	}
	end := slices.MinFunc(ends, inQueue)
	beyond := func(w db.QueuedWake) bool { return inQueue(w, end) > 0 }
	l.Pending = slices.DeleteFunc(l.Pending, beyond)
	l.Claimed = slices.DeleteFunc(l.Claimed, beyond)
	l.Dead = slices.DeleteFunc(l.Dead, beyond)
	return new(fmt.Sprintf("%s.%d", end.ChannelID, end.FirstSeq))
}

// inQueue compares two rows by the order of the queue.
func inQueue(a, b db.QueuedWake) int {
	return cmp.Or(bytes.Compare(a.ChannelID[:], b.ChannelID[:]), cmp.Compare(a.FirstSeq, b.FirstSeq))
}
