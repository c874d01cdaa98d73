package db

import (
	"context"
	"maps"
	"slices"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// WakeList returns the users on a channel's current wake list, members or not.
func (q Queries) WakeList(ctx context.Context, channel uuid.UUID) ([]string, error) {
	const query = `
		SELECT w.user_ids FROM wake_lists w JOIN channels c ON c.id = w.channel_id
			AND c.wake_version = w.version
		WHERE c.id = $1`
	var users []string
	err := q.conn.QueryRow(ctx, query, channel).Scan(&users)
	if err == pgx.ErrNoRows {
		return []string{}, nil
	}
	return users, sentinel(err)
}

// WakeListAt returns a version of a channel's wake list, sorted. Version 0 is empty.
func (q Queries) WakeListAt(ctx context.Context, channel uuid.UUID, version int) ([]string, error) {
	const query = `
		SELECT u.id FROM wake_lists w, unnest(w.user_ids) AS u (id)
		WHERE w.channel_id = $1 AND w.version = $2 ORDER BY u.id COLLATE "C"`
	rows, err := q.conn.Query(ctx, query, channel, version)
	if err != nil {
		return nil, sentinel(err)
	}
	users, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return users, sentinel(err)
}

// TakeOffWakeList removes user from a channel's wake list, if user is on it. The caller must hold the channel
// exclusively.
func (tx Tx) TakeOffWakeList(ctx context.Context, channel uuid.UUID, user string) error {
	users, err := tx.WakeList(ctx, channel)
	if err != nil {
		return err
	}
	if i := slices.Index(users, user); i >= 0 {
		return tx.newWakeList(ctx, channel, slices.Delete(users, i, i+1))
	}
	return nil
}

// SetWakeList gives a channel a new wake list, and appends an update of the channel. The caller must hold the
// channel exclusively. Messages that were posted before keep the list that decided them.
func (tx Tx) SetWakeList(
	ctx context.Context, channel uuid.UUID, by string, users []string,
) (events.Cursor, error) {
	if err := tx.newWakeList(ctx, channel, users); err != nil {
		return events.Cursor{}, err
	}
	return tx.appendEvent(ctx, events.ChannelUpdated, channel, by, "")
}

// newWakeList stores the next version of a wake list. It removes the previous version if that decided no
// message. So there are no more lists than messages: versions only rise, and the latest message has the
// greatest version that was used.
func (tx Tx) newWakeList(ctx context.Context, channel uuid.UUID, users []string) error {
	const query = `
		WITH c AS (
			UPDATE channels SET wake_version = wake_version + 1 WHERE id = $1 RETURNING wake_version
		), unused AS (
			DELETE FROM wake_lists w USING c WHERE w.channel_id = $1 AND w.version = c.wake_version - 1
				AND w.version > coalesce((SELECT m.wake_version FROM messages m WHERE m.channel_id = $1
					ORDER BY m.seq DESC LIMIT 1), 0)
		)
		INSERT INTO wake_lists (channel_id, version, user_ids) SELECT $1, wake_version, $2 FROM c`
	_, err := tx.conn.Exec(ctx, query, channel, users)
	return err
}

// A wakeKey names a version of a wake list. The version never changes within an epoch. A copy of the database
// that lacks the version may give its number to another list.
type wakeKey struct {
	epoch   int64
	channel uuid.UUID
	version int
}

type wakeLists map[wakeKey][]string

// wakeListsKept is how many lists a server caches.
const wakeListsKept = 1000

// wakeListsOf returns the wake lists that decided the messages among rows, sorted. The rows were read in an
// epoch. Each list is read once, and shared by all events that need it. If the epoch has changed, wakeListsOf
// returns an error.
func (d *DB) wakeListsOf(ctx context.Context, q Queries, epoch int64, rows []*eventRow) (wakeLists, error) {
	const query = `
		SELECT log_epoch(), k.channel_id, k.version,
			ARRAY(SELECT u FROM unnest(w.user_ids) AS u ORDER BY u COLLATE "C")
		FROM unnest($1::uuid[], $2::int[]) AS k (channel_id, version)
		LEFT JOIN wake_lists w ON w.channel_id = k.channel_id AND w.version = k.version`
	found := wakeLists{}
	var channels []uuid.UUID
	var versions []int
	d.mu.Lock()
	for _, r := range rows {
		k := wakeKey{epoch, r.ChannelID, value(r.WakeVersion)}
		if _, seen := found[k]; seen || k.version == 0 {
			continue
		}
		list, known := d.lists[k]
		found[k] = list
		if !known {
			channels = append(channels, k.channel)
			versions = append(versions, k.version)
		}
	}
	d.mu.Unlock()
	if len(channels) == 0 {
		return found, nil
	}
	read, err := q.conn.Query(ctx, query, channels, versions)
	if err != nil {
		return nil, sentinel(err)
	}
	var k wakeKey
	var list []string
	fresh := wakeLists{}
	_, err = pgx.ForEachRow(read, []any{&k.epoch, &k.channel, &k.version, &list}, func() error {
		if k.epoch != epoch {
			return errNoRest
		}
		fresh[k], list = list, nil
		return nil
	})
	maps.Copy(found, fresh)
	d.mu.Lock() // not during the query: others must not wait for the network
	defer d.mu.Unlock()
	if len(d.lists)+len(fresh) > wakeListsKept {
		clear(d.lists)
	}
	maps.Copy(d.lists, fresh)
	return found, sentinel(err)
}
