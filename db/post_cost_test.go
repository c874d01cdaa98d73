package db_test

import (
	"fmt"
	"maps"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// memberCounts are the channel sizes for which the cost of a post is compared.
var memberCounts = []int{10, 100, 1000, 10_000}

// A post writes its message and its event. Recipients are not stored. So neither the rows nor the bytes of
// write-ahead log grow with the channel.
func TestAPostWritesNoMoreInALargeChannel(t *testing.T) {
	dbtest.Long(t) // TestRowsRead is fast
	t.Parallel()
	url := dbtest.NewCluster(t).URL() // everything that this cluster writes is counted
	c := dbtest.Connect(t, url)
	d := openURL(t, url)
	sizes := memberCounts
	if testing.Short() {
		sizes = sizes[:3]
	}
	var channels []uuid.UUID
	for _, n := range sizes {
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
		t.Logf("%d members: %d rows and %d bytes in %d posts", sizes[i], got.rows, got.bytes,
			postsCounted)
		if got.rows != 2*postsCounted {
			t.Errorf("%d posts to %d members: got %d rows written, want %d",
				postsCounted, sizes[i], got.rows, 2*postsCounted)
		}
		if most := least[0].bytes + least[0].bytes/4; got.bytes > most {
			t.Errorf("%d posts to %d members: got %d bytes of log, want %d at most",
				postsCounted, sizes[i], got.bytes, most)
		}
	}
}

const postsCounted = 50

// written counts what Postgres wrote: rows inserted, changed or deleted, and bytes of write-ahead log.
type written struct{ rows, bytes int64 }

// writtenBy counts what postsCounted posts in a channel write.
func writtenBy(t *testing.T, c *pgx.Conn, url string, channel uuid.UUID) written {
	t.Helper()
	before := count(t, c)
	d, err := db.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	for range postsCounted {
		post(t, d, channel, "u0", "hi")
	}
	d.Close()
	after := count(t, c)
	return written{after.rows - before.rows, after.bytes - before.bytes}
}

// count counts what the cluster has written so far. Every other connection must be closed: a backend reports
// its statistics before it ends.
func count(t *testing.T, c *pgx.Conn) (w written) {
	t.Helper()
	const sofar = `
		SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint, (pg_current_wal_insert_lsn() - '0/0')::bigint
		FROM pg_stat_user_tables`
	backendsEnd(t, c)
	if err := c.QueryRow(t.Context(), sofar).Scan(&w.rows, &w.bytes); err != nil {
		t.Fatal(err)
	}
	return w
}

// members returns the names of n members.
func members(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint("u", i)
	}
	return out
}

// An agent's post costs what a human's costs, and one more index look-up: the loop guard reads the channel's
// messages backwards. What a message stores about its author and its bound makes it a little longer. Where
// the guard stops an agent, its posts cost no more.
func TestAnAgentsPostCostsOneMoreLookUp(t *testing.T) {
	dbtest.Long(t) // TestRowsRead is fast
	t.Parallel()
	url := dbtest.NewCluster(t).URL() // everything that this cluster does is counted
	c := dbtest.Connect(t, url)
	d := openURL(t, url)
	setUp := dbtest.Connect(t, url) // closed before anything is counted
	// Tables of this size would be read without their indexes.
	exec(t, setUp, `ALTER DATABASE `+column[string](t, setUp, `SELECT current_database()::text`)[0]+
		` SET enable_seqscan = off`)
	exec(t, setUp, `INSERT INTO users (id, kind) VALUES ('u0', 'agent')`)
	byHuman, _ := create(t, d, "u1", "u2")
	byAgent, _ := create(t, d, "u0", "u2")
	stopped, _ := create(t, d, "u0", "u2")
	exec(t, setUp, `UPDATE channels SET loop_limit = 200 WHERE id = $1`, byAgent)
	exec(t, setUp, `UPDATE channels SET loop_limit = 1 WHERE id = $1`, stopped)
	_ = setUp.Close(t.Context())
	d.Close()
	exec(t, c, `VACUUM ANALYZE channels, members, messages, events, users`) // leaves no work for autovacuum
	measure := func(channel uuid.UUID, author string) (least cost) {
		for i := range 4 { // the first time warms up, and trips the guard
			got := costOf(t, c, url, channel, author)
			if i == 1 {
				least = got
			}
			least.bytes = min(least.bytes, got.bytes)
		}
		return least
	}
	human, agent, muted := measure(byHuman, "u1"), measure(byAgent, "u0"), measure(stopped, "u0")
	t.Logf("human: %+v\nagent: %+v\nstopped: %+v", human, agent, muted)
	if human.rows != 2*postsCounted ||
		human.lookUps["users_pkey"] != postsCounted || human.lookUps["channels_pkey"] != postsCounted ||
		human.roundTrips != postsCounted {
		t.Errorf("a human: got %+v for %d posts, want 2 rows, 1 round trip and 1 look-up of the "+
			"author and the channel for each",
			human, postsCounted)
	}
	for name, got := range map[string]cost{"an agent": agent, "an agent whom the guard stops": muted} {
		want := maps.Clone(human.lookUps)
		want["messages_history"] += postsCounted
		if name != "an agent" {
			delete(want, "members_present") // it wakes nobody, so the answer names nobody
		}
		if diff := cmp.Diff(want, got.lookUps); diff != "" {
			t.Errorf("%s: index look-ups (-want +got):\n%s", name, diff)
		}
		if got.rows != human.rows || got.roundTrips != human.roundTrips {
			t.Errorf("%s: got %+v, want the rows and round trips of a human", name, got)
		}
		if most := human.bytes + 24*postsCounted; got.bytes > most {
			t.Errorf("%s: got %d bytes of log, want %d at most", name, got.bytes, most)
		}
	}
}

// cost is what postsCounted posts cost.
type cost struct {
	written
	lookUps    map[string]int64 // by index
	roundTrips int64
}

// costOf counts what postsCounted posts of one author cost.
func costOf(t *testing.T, c *pgx.Conn, url string, channel uuid.UUID, author string) (total cost) {
	t.Helper()
	const used = `
		SELECT jsonb_object_agg(indexrelname, idx_scan) FROM pg_stat_user_indexes
		WHERE relname IN ('channels', 'events', 'members', 'messages', 'users')`
	l := newLine(t, url)
	began := count(t, c)
	before := column[map[string]int64](t, c, used)[0]
	d, err := db.Open(t.Context(), l.url)
	if err != nil {
		t.Fatal(err)
	}
	post(t, d, channel, author, "hi") // opens the connection and prepares the statement
	first := l.waits.Load()
	for range postsCounted - 1 {
		post(t, d, channel, author, "hi")
	}
	total.roundTrips = l.waits.Load() - first + 1
	d.Close()
	ended := count(t, c)
	total.written = written{ended.rows - began.rows, ended.bytes - began.bytes}
	total.lookUps = column[map[string]int64](t, c, used)[0]
	for index, n := range before {
		total.lookUps[index] -= n
	}
	maps.DeleteFunc(total.lookUps, func(_ string, n int64) bool { return n == 0 })
	return total
}
