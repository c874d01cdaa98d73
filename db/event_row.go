package db

import (
	"fabric-guild/events"

	"github.com/google/uuid"
)

// eventColumns are the columns of event_rows that decode an event, without its number. Both readers of the
// event log select them, with m as the row's name. A reader may find a number whose event is missing: then
// kind is empty.
var eventColumns = `
	coalesce(m.kind, '') AS kind, coalesce(m.user_id, '') AS user_id,
		coalesce(m.occurred_at, 'epoch') AS occurred_at,
	coalesce(m.channel_id, '00000000-0000-0000-0000-000000000000') AS channel_id,
	coalesce(m.guild_id, '') AS guild_id,
	coalesce(m.name, '') AS name, coalesce(m.x_type, '') AS x_type, m.reason, m.joined, m.heard_by_admin,
	m.message_id, m.message_seq, ` + messageColumns

// An eventRow has a number and the eventColumns.
type eventRow struct {
	Seq          int64
	Kind         events.Kind
	UserID       string
	OccurredAt   events.Time
	ChannelID    uuid.UUID
	GuildID      string
	Name         string
	XType        events.XType
	Reason       *string
	Joined       []string
	HeardByAdmin *string
	MessageID    *uuid.UUID
	MessageSeq   *int64
	messageRow
}

// A tailRow is an event as the tailer reads it.
type tailRow struct {
	eventRow
	Gone []string
}

// A heardRow is an event with the interval by which a user hears it.
type heardRow struct {
	eventRow
	JoinedSeq int64
	LeftSeq   int64
}

// selectTail selects tailRows after a number.
var selectTail = `
	SELECT m.seq, m.gone, ` + eventColumns + `
	FROM event_rows m WHERE m.seq > $1 ORDER BY m.seq LIMIT $2`

// selectPage selects the heardRows of page, which is a list of numbers with their intervals.
//
// The LIMIT keeps this a look-up for each number. For a full page, which the planner expects, it would rather
// read all of an event log that is not very long. A number whose event is missing gives a row without a kind.
// So the number of candidates decides whether a page is the last one, not the number of events that still
// exist.
var selectPage = `
	SELECT p.seq, p.joined_seq, p.left_seq, ` + eventColumns + `
	FROM page p LEFT JOIN LATERAL (SELECT * FROM event_rows m WHERE m.seq = p.seq LIMIT 1) m ON true
	ORDER BY p.seq`

// event returns the event of a row that was read in an epoch. It is the only place that builds an event.
func (r *eventRow) event(epoch int64, lists wakeLists) *events.Event {
	e := &events.Event{
		Cursor: events.Cursor{Epoch: epoch, Seq: r.Seq}, Kind: r.Kind, UserID: r.UserID,
		OccurredAt: r.OccurredAt,
		ChannelID:  r.ChannelID, GuildID: r.GuildID, Name: r.Name, XType: r.XType,
		Joined: r.Joined, Reason: value(r.Reason), Admin: value(r.HeardByAdmin),
	}
	if r.MessageID != nil && r.MessageSeq != nil {
		m := r.message(*r.MessageID, *r.MessageSeq, r.ChannelID, r.GuildID, r.XType)
		m.WakeList = lists[wakeKey{epoch, r.ChannelID, value(r.WakeVersion)}]
		m.Settle()
		e.Message = &m
	}
	return e
}
