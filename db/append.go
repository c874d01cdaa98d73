package db

import (
	"context"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// appended is what a transaction has appended to the event log. Once it is committed, this server knows the
// events without a read: rules 40 and 57 of events/README.md.
type appended struct {
	events []*events.Event
	unread bool // it has also appended an event that must be read
}

// known reports whether events are all that the transaction has appended.
func (a *appended) known() bool { return len(a.events) > 0 && !a.unread }

// selectAppended ends a statement whose CTE e appends one event of the channel $1, without a message. It has
// the columns by which the readers of the event log show such an event. The name is the channel's as of the
// statement, so the transaction must hold the channel, and must have changed the name in an earlier
// statement.
const selectAppended = `
	SELECT log_epoch() AS epoch, e.seq, e.kind, e.user_id, e.occurred_at, e.channel_id, e.reason,
		c.guild_id, c.name, c.x_type
	FROM e, channels c WHERE c.id = $1`

// append runs a statement that ends with selectAppended, and notes the event. args are $2, $3 and so on.
func (tx Tx) append(
	ctx context.Context, statement string, channel uuid.UUID, args ...any,
) (*events.Event, error) {
	rows, err := tx.conn.Query(ctx, statement, append([]any{channel}, args...)...)
	if err != nil {
		return nil, err
	}
	type row struct {
		Epoch int64
		eventRow
	}
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByNameLax[row])
	if err != nil {
		return nil, err
	}
	e := r.event(r.Epoch, nil)
	tx.appended.events = append(tx.appended.events, e)
	return e, nil
}

// appendEvent appends an event in a statement of its own.
func (tx Tx) appendEvent(
	ctx context.Context, kind events.Kind, channel uuid.UUID, user, reason string,
) (at events.Cursor, err error) {
	const insert = `
		WITH e AS (
			INSERT INTO events (kind, channel_id, user_id, reason) VALUES ($2, $1, $3, $4) RETURNING *
		)` + selectAppended
	return cursorOf(tx.append(ctx, insert, channel, kind, user, optional(reason)))
}

// cursorOf returns the cursor of an event that was appended.
func cursorOf(e *events.Event, err error) (events.Cursor, error) {
	if err != nil {
		return events.Cursor{}, err
	}
	return e.Cursor, nil
}
