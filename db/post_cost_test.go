package db_test

import (
	"fmt"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// memberCounts are the sizes of the channels in which the cost of a post is compared.
var memberCounts = []int{10, 100, 1000, 10_000}

// A post writes its message and its event. Who hears it is not written down: neither the rows nor Postgres'
// own log of them grow with the channel.
func TestAPostWritesNoMoreInALargeChannel(t *testing.T) {
	t.Parallel()
	url := dbtest.NewCluster(t).URL() // all that it writes is counted
	c := dbtest.Connect(t, url)
	d := openURL(t, url)
	var channels []uuid.UUID
	for _, n := range memberCounts {
		channel, _ := create(t, d, members(n)...)
		channels = append(channels, channel)
	}
	d.Close()
	exec(t, c, `VACUUM ANALYZE channels, members, messages, events`) // leaves nothing to do to a vacuum of the server's own
	writtenBy(t, c, url, channels[0])

	least := make([]written, len(channels))
	for range 3 { // a page that is written for the first time since a checkpoint is in the log as a whole
		for i, channel := range channels {
			got := writtenBy(t, c, url, channel)
			if least[i].bytes == 0 || got.bytes < least[i].bytes {
				least[i].bytes = got.bytes
			}
			least[i].rows = max(least[i].rows, got.rows)
		}
	}
	for i, got := range least {
		t.Logf("%d members: %d rows and %d bytes in %d posts", memberCounts[i], got.rows, got.bytes, postsCounted)
		if got.rows != 2*postsCounted {
			t.Errorf("%d posts to %d members: got %d rows written, want %d", postsCounted, memberCounts[i], got.rows, 2*postsCounted)
		}
		if most := least[0].bytes + least[0].bytes/4; got.bytes > most {
			t.Errorf("%d posts to %d members: got %d bytes of log, want %d at most", postsCounted, memberCounts[i], got.bytes, most)
		}
	}
}

const postsCounted = 50

// written is what Postgres wrote: rows inserted, changed or deleted, and bytes of its write-ahead log.
type written struct{ rows, bytes int64 }

// writtenBy counts what posts in a channel write.
func writtenBy(t *testing.T, c *pgx.Conn, url string, channel uuid.UUID) written {
	t.Helper()
	const sofar = `
		SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint, (pg_current_wal_insert_lsn() - '0/0')::bigint
		FROM pg_stat_user_tables`
	count := func() (w written) {
		t.Helper()
		backendsEnd(t, c)
		if err := c.QueryRow(t.Context(), sofar).Scan(&w.rows, &w.bytes); err != nil {
			t.Fatal(err)
		}
		return w
	}
	before := count()
	d, err := db.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	for range postsCounted {
		post(t, d, channel, "u0", "hi")
	}
	d.Close() // a backend that ends has told its statistics
	after := count()
	return written{after.rows - before.rows, after.bytes - before.bytes}
}

// members are n of them.
func members(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint("u", i)
	}
	return out
}
