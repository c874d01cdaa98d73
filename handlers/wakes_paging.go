package handlers

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"fabric-guild/db"
	"fabric-guild/handlers/web"

	"github.com/google/uuid"
)

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
			Field: "after", Detail: "must be the next of an earlier page",
		})
	}
	return channel, seq, nil
}

// nextInQueue is where the next page begins. Live and dead wakes are two lists in one order, each of which ends at
// the limit: the page reaches as far as the shorter of them.
func nextInQueue(l db.WakeList, limit int) *string {
	live := append(append([]db.QueuedWake{}, l.Pending...), l.Claimed...)
	var ends []db.QueuedWake
	if len(live) == limit {
		ends = append(ends, last(live))
	}
	if len(l.Dead) == limit {
		ends = append(ends, last(l.Dead))
	}
	if len(ends) == 0 {
		return nil
	}
	end := ends[0]
	if len(ends) == 2 && inQueue(ends[1], end) < 0 {
		end = ends[1]
	}
	s := fmt.Sprintf("%s.%d", end.ChannelID, end.FirstSeq)
	return &s
}

// last is the one that stands last in the order of the queue.
func last(all []db.QueuedWake) db.QueuedWake {
	l := all[0]
	for _, w := range all[1:] {
		if inQueue(w, l) > 0 {
			l = w
		}
	}
	return l
}

func inQueue(a, b db.QueuedWake) int {
	if c := bytes.Compare(a.ChannelID[:], b.ChannelID[:]); c != 0 {
		return c
	}
	return int(max(-1, min(1, a.FirstSeq-b.FirstSeq)))
}
