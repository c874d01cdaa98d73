package db_test

import (
	"fmt"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// memberCounts are the channel sizes for which the cost of a post is compared.
var memberCounts = []int{10, 100, 1000, 10_000}

// A post writes its message and its event. Recipients are not stored. So neither the rows nor the bytes of
// write-ahead log grow with the channel.
func TestAPostWritesNoMoreInALargeChannel(t *testing.T) {
	t.Parallel()
	url := dbtest.NewCluster(t).URL() // everything that this cluster writes is counted
	c := dbtest.Connect(t, url)
	d := openURL(t, url)
	var channels []uuid.UUID
	for _, n := range memberCounts {
		channel, _ := create(t, d, members(n)...)
		channels = append(channels, channel)
	}
	d.Close()
	exec(t, c, `VACUUM ANALYZE channels, members, messages, events`) // leaves no work for autovacuum
	writtenBy(t, c, url, channels[0])

	least := make([]written, len(channels))
	for range 3 { // the first write of a page after a checkpoint logs the whole page
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
			t.Errorf("%d posts to %d members: got %d rows written, want %d",
				postsCounted, memberCounts[i], got.rows, 2*postsCounted)
		}
		if most := least[0].bytes + least[0].bytes/4; got.bytes > most {
			t.Errorf("%d posts to %d members: got %d bytes of log, want %d at most",
				postsCounted, memberCounts[i], got.bytes, most)
		}
	}
}

const postsCounted = 50

// written counts what Postgres wrote: rows inserted, changed or deleted, and bytes of write-ahead log.
type written struct{ rows, bytes int64 }

// writtenBy counts what postsCounted posts in a channel write.
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
	d.Close() // a backend reports its statistics before it ends
	after := count()
	return written{after.rows - before.rows, after.bytes - before.bytes}
}

// members returns the names of n members.
func members(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint("u", i)
	}
	return out
}
