package db

import (
	"context"
	"maps"
	"slices"

	"fabric-guild/events"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// WakeList returns who is on a channel's wake list, members or not.
func (q Queries) WakeList(ctx context.Context, channel uuid.UUID) ([]string, error) {
	const query = `
		SELECT w.user_ids FROM wake_lists w JOIN channels c ON c.id = w.channel_id AND c.wake_version = w.version
		WHERE c.id = $1`
	var users []string
	err := q.conn.QueryRow(ctx, query, channel).Scan(&users)
	if err == pgx.ErrNoRows {
		return []string{}, nil
	}
	return users, sentinel(err)
}

// WakeListAt is a channel's wake list of an earlier version, sorted; 0 is the one before the first.
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

// TakeOffWakeList gives a channel that is locked a wake list without user, if they are on it.
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

// SetWakeList gives a channel that is locked a new wake list, and tells of it as an update of the channel.
// Messages that were posted before keep the list that they were decided by.
func (tx Tx) SetWakeList(ctx context.Context, channel uuid.UUID, by string, users []string) (events.Cursor, error) {
	if err := tx.newWakeList(ctx, channel, users); err != nil {
		return events.Cursor{}, err
	}
	return tx.appendEvent(ctx, events.ChannelUpdated, channel, by, "")
}

// newWakeList takes the place of a list that no message was decided by, so there are no more lists than
// messages: versions only rise, and the latest message has the greatest that was used.
func (tx Tx) newWakeList(ctx context.Context, channel uuid.UUID, users []string) error {
	const query = `
		WITH c AS (
			UPDATE channels SET wake_version = wake_version + 1 WHERE id = $1 RETURNING wake_version
		), unused AS (
			DELETE FROM wake_lists w USING c WHERE w.channel_id = $1 AND w.version = c.wake_version - 1
				AND w.version > coalesce((SELECT m.wake_version FROM messages m WHERE m.channel_id = $1 ORDER BY m.seq DESC LIMIT 1), 0)
		)
		INSERT INTO wake_lists (channel_id, version, user_ids) SELECT $1, wake_version, $2 FROM c`
	_, err := tx.conn.Exec(ctx, query, channel, users)
	return err
}

// A wakeKey names a wake list. It never changes within an epoch; a copy of the database that lacked it
// gives its version to another one.
type wakeKey struct {
	epoch   int64
	channel uuid.UUID
	version int
}

type wakeLists map[wakeKey][]string

// wakeListsKept bounds how many lists a node remembers.
const wakeListsKept = 1000

// wakeListsOf are the lists that messages among rows, which were read in an epoch, were decided by, sorted:
// each is read once, and shared by all events that need it. In another epoch than that it returns an error.
func (d *DB) wakeListsOf(ctx context.Context, q Queries, epoch int64, rows []*eventRow) (wakeLists, error) {
	const query = `
		SELECT log_epoch(), k.channel_id, k.version, ARRAY(SELECT u FROM unnest(w.user_ids) AS u ORDER BY u COLLATE "C")
		FROM unnest($1::uuid[], $2::int[]) AS k (channel_id, version)
		LEFT JOIN wake_lists w ON w.channel_id = k.channel_id AND w.version = k.version`
	found := wakeLists{}
	var channels []uuid.UUID
	var versions []int
	d.mu.Lock()
	for _, r := range rows {
		k := wakeKey{epoch, r.ChannelID, r.WakeVersion}
		if _, seen := found[k]; seen || r.WakeVersion == 0 {
			continue
		}
		list, known := d.wake[k]
		if found[k] = list; !known {
			channels, versions = append(channels, k.channel), append(versions, k.version)
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
	d.mu.Lock() // only now: others are not to wait for the network
	defer d.mu.Unlock()
	if len(d.wake)+len(fresh) > wakeListsKept {
		clear(d.wake)
	}
	maps.Copy(d.wake, fresh)
	return found, sentinel(err)
}

// Strangers are those of users who are not members of a channel.
func (q Queries) Strangers(ctx context.Context, channel uuid.UUID, users []string) ([]string, error) {
	const query = `
		SELECT u.id FROM unnest($2::text[]) AS u (id)
		WHERE NOT EXISTS (SELECT FROM members m WHERE m.channel_id = $1 AND m.user_id = u.id AND m.left_seq IS NULL)`
	rows, err := q.conn.Query(ctx, query, channel, users)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
