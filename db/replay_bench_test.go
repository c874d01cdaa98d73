package db_test

import (
	"context"
	"fmt"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"

	"github.com/jackc/pgx/v5"
)

// BenchmarkReplay reads an event log of 300,000 events in pages, from its first event on: as a member of 5 of
// 400 channels, of 100 channels, and of the channel that has nearly all messages.
func BenchmarkReplay(b *testing.B) {
	for _, crowd := range []struct {
		user string
		busy int // how many of a hundred events are in channel 1
	}{{"of5", 0}, {"of100", 0}, {"of1", 90}} {
		b.Run(crowd.user, func(b *testing.B) {
			url := dbtest.New(b)
			d, err := db.Open(b.Context(), url)
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			head, err := d.Head(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			c, err := pgx.Connect(b.Context(), url)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = c.Close(context.Background()) }()
			for _, sql := range []string{
				fmt.Sprintf(benchmarked, crowd.busy),
				`VACUUM ANALYZE events, messages, members, channels`,
			} {
				if _, err := c.PgConn().Exec(b.Context(), sql).ReadAll(); err != nil {
					b.Fatal(err)
				}
			}
			end, err := d.Head(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			found, at := 0, head.Seq
			for b.Loop() {
				page, err := d.Replay(b.Context(), crowd.user, at, end.Seq)
				if err != nil {
					b.Fatal(err)
				}
				found += len(page.Events)
				if at = page.Reached; at == end.Seq {
					at = head.Seq
				}
			}
			b.ReportMetric(float64(found)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

const benchmarked = `
	INSERT INTO channels (id, guild_id, name, x_type, private, history, created_by, member_count)
	SELECT gen_random_uuid(), 'g1', 'room ' || i, 'general', false, 'joined', 'alice', 1
		FROM generate_series(1, 400) AS i;
	CREATE TEMP TABLE room AS SELECT id, row_number() OVER () AS i FROM channels;
	INSERT INTO members (channel_id, user_id, joined_seq, position, joined_at)
	SELECT r.id, u.name, 1, 0, now() FROM (VALUES ('of1', 1), ('of5', 5), ('of100', 100)) AS u (name, rooms)
		JOIN room r ON r.i <= u.rooms;
	CREATE TEMP TABLE said AS
	SELECT s, CASE WHEN random() * 100 < %d THEN 1 ELSE 1 + floor(random() * 400) END AS i
		FROM generate_series(1, 300000) AS s;
	CREATE INDEX ON said (i);
	CREATE TEMP TABLE told AS SELECT s, r.id AS channel_id, gen_random_uuid() AS message_id FROM said
		JOIN room r USING (i);
	WITH e AS (
		INSERT INTO events (seq, kind, channel_id, user_id, message_id)
		SELECT 100 + s, 'message.created', channel_id, 'alice', message_id FROM told ORDER BY s
			RETURNING seq, channel_id, message_id
	)
	INSERT INTO messages (id, channel_id, seq, author_user_id, content, mention_user_ids, created_at)
	SELECT message_id, channel_id, seq, 'alice', repeat('x', 200), '{}', now() FROM e;
	SELECT setval('events_seq', (SELECT max(seq) FROM events))`
