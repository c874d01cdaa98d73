package db_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// scatter fills the event log with events of all kinds in 120 channels, with gaps. It adds members of few and
// of many channels, who come and go. adm hears some events as the admin, and is a member of few channels.
const scatter = `
	INSERT INTO channels (id, guild_id, name, x_type, private, history, created_by, member_count)
	SELECT gen_random_uuid(), 'g1', 'room ' || i, 'general', false, 'joined', 'alice', 1
		FROM generate_series(1, 120) AS i;
	CREATE TEMP TABLE room AS SELECT id, row_number() OVER () AS i FROM channels;
	CREATE TEMP TABLE happening AS
	SELECT 1000 + 10 * s + floor(random() * 9)::bigint AS seq, r.id AS channel_id, gen_random_uuid() AS
		message_id,
		(ARRAY['message.created', 'message.created', 'message.created', 'member.joined', 'turn.changed'])[1 +
			floor(random() * 5)] AS kind
	FROM generate_series(1, 4000) AS s JOIN LATERAL (SELECT id FROM room
	WHERE i = 1 + s * 7919 % 120) r ON true;
	INSERT INTO events (seq, kind, channel_id, user_id, message_id, admin_user_id)
	SELECT seq, kind, channel_id, 'alice', CASE kind WHEN 'message.created' THEN message_id END,
		CASE WHEN random() < 0.3 THEN 'adm' END
	FROM happening;
	INSERT INTO messages (id, channel_id, seq, author_user_id, content, mention_user_ids, created_at)
	SELECT message_id, channel_id, seq, 'alice', 'hi', '{}', now() FROM happening
		WHERE kind = 'message.created';
	-- From some event on to a later one of the channel, the last of them for good.
	INSERT INTO members (channel_id, user_id, joined_seq, position, joined_at, left_seq)
	SELECT r.id, u.name, e.joined, 0, now(), CASE WHEN e.n < u.intervals THEN e.next - 1 END
	FROM (VALUES ('few', 4, 2), ('one', 1, 1), ('many', 100, 3), ('some', 18, 1), ('adm', 3, 2)) AS u (name,
		rooms, intervals)
	JOIN room r ON r.i <= u.rooms
	JOIN LATERAL (
		SELECT h.seq AS joined, lead(h.seq) OVER (ORDER BY h.seq) AS next, row_number() OVER (ORDER BY h.seq)
			AS n
		FROM (SELECT seq FROM happening WHERE channel_id = r.id
		ORDER BY hashtext(u.name || seq) LIMIT u.intervals) h
	) e ON true;
	SELECT setval('events_seq', 60000)`

// Both ways to find a page give what the intervals say, from every starting position.
func TestPagesMatchTheIntervals(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d, c := openURL(t, url), dbtest.Connect(t, url)
	exec(t, c, `SELECT setseed($1)`, rand.Float64())
	if _, err := c.PgConn().Exec(t.Context(), scatter).ReadAll(); err != nil {
		t.Fatal(err)
	}
	const oracle = `
		SELECT e.seq FROM events e
		WHERE e.admin_user_id = $1 OR EXISTS (SELECT FROM members i WHERE i.user_id = $1
			AND i.channel_id = e.channel_id
			AND e.seq >= i.joined_seq AND (i.left_seq IS NULL OR e.seq <= i.left_seq))
		ORDER BY e.seq`
	all := column[int64](t, c, `SELECT seq FROM events ORDER BY seq`)
	for _, user := range []string{"few", "one", "some", "many", "adm", "nobody"} {
		want := column[int64](t, c, oracle, user)
		pages := 0
		for range 10 {
			from, to := rand.Int64N(all[len(all)-1]), all[rand.IntN(len(all))]
			got := []int64{}
			for at := from; at < to; pages++ {
				page, err := d.Replay(t.Context(), user, at, to)
				if err != nil {
					t.Fatal(err)
				}
				if _, known := slices.BinarySearch(all, page.Reached); page.Reached <= at || !known {
					t.Fatalf("%s: got %d reached from %d, want an event's number beyond", user,
						page.Reached, at)
				}
				got, at = append(got, heard(page)...), page.Reached
				for _, e := range page.Events {
					wantWithin(t, user, e)
				}
			}
			if diff := cmp.Diff(append([]int64{}, between(want, from, max(from, to))...), got); diff != "" {
				t.Fatalf("%s in (%d, %d] (-want +got):\n%s", user, from, to, diff)
			}
		}
		t.Logf("%s hears %d events; %d pages", user, len(want), pages)
	}
}

// fill appends messages to a channel. It chooses the numbers itself, because that many draws would exhaust
// the lock table. Nobody else may append meanwhile.
func fill(t *testing.T, c *pgx.Conn, channel uuid.UUID, n int) {
	t.Helper()
	exec(t, c, `
		WITH e AS (
			INSERT INTO events (seq, kind, channel_id, user_id, message_id)
			SELECT pg_sequence_last_value('events_seq') + s, 'message.created', $1, 'alice', gen_random_uuid()
			FROM generate_series(1, $2) AS s RETURNING seq, message_id
		)
		INSERT INTO messages (id, channel_id, seq, author_user_id, content, mention_user_ids, created_at)
		SELECT message_id, $1, seq, 'alice', 'hi', '{}', now() FROM e`, channel, n)
	exec(t, c, `SELECT setval('events_seq', (SELECT max(seq) FROM events))`)
}

func wantWithin(t *testing.T, user string, e events.Heard) {
	t.Helper()
	in := e.In
	if in != (events.Interval{}) && (e.Cursor.Seq < in.Joined || in.Left != 0 && e.Cursor.Seq > in.Left ||
		in.ChannelID != e.ChannelID) {
		t.Errorf("%s: got %d by the interval %+v", user, e.Cursor.Seq, in)
	}
	if in == (events.Interval{}) && e.Admin != user {
		t.Errorf("%s: got %d, and is neither a member nor the admin", user, e.Cursor.Seq)
	}
}

// A page stays in memory while its client reads it, so its texts are bounded too.
func TestPagesOfLongTextsAreShort(t *testing.T) {
	dbtest.Long(t) // TestPagesMatchTheIntervals is fast
	t.Parallel()
	d := open(t)
	channel, from := create(t, d, "alice")
	const long = 16 << 10
	var want []int64
	for range 200 {
		want = append(want, post(t, d, channel, "alice", strings.Repeat("x", long)).Cursor.Seq)
	}
	var got []int64
	end := want[len(want)-1]
	for at := from.Seq; at < end; {
		page, err := d.Replay(t.Context(), "alice", at, end)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(page.Events); n == 0 || n > 1<<20/long {
			t.Fatalf("got %d events in a page, want %d at most", n, 1<<20/long)
		}
		got, at = append(got, heard(page)...), page.Reached
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The cost of a resume depends on what the user missed. It does not depend on older events, on events of
// other channels, or on how often the user came and went.
func TestAResumeCostsWhatWasMissed(t *testing.T) {
	dbtest.Long(t) // TestRowsRead is fast
	t.Parallel()
	url := dbtest.New(t)
	rows := 20000
	if testing.Short() {
		rows = 4000
	}
	// with calls do with connections that end before it returns: a connection reports its statistics late
	with := func(do func(d *db.DB, c *pgx.Conn)) {
		t.Helper()
		d, c := openURL(t, url), dbtest.Connect(t, url)
		do(d, c)
		d.Close()
		_ = c.Close(t.Context())
	}
	resume := func(after, head int64) (blocks int64) {
		t.Helper()
		return touched(t, url, func(ctx context.Context, d *db.DB) error {
			if _, err := d.Memberships(ctx, []string{"bob"}, head, events.Place{Left: after},
				200); err != nil {
				return err
			}
			page, err := d.Replay(ctx, "bob", after, head)
			if err == nil && (page.Reached != head || len(page.Events) != 20) {
				err = fmt.Errorf("got %d events up to %d, want 20 up to %d", len(page.Events),
					page.Reached, head)
			}
			return err
		})
	}
	head := func(d *db.DB) int64 {
		t.Helper()
		at, err := d.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return at.Seq
	}
	var ours, theirs uuid.UUID
	var said []int64
	var first, middle, last int64
	with(func(d *db.DB, c *pgx.Conn) {
		ours, _ = create(t, d, "alice", "bob")
		theirs, _ = create(t, d, "alice")
		fill(t, c, theirs, rows)
		said = posts(t, d, ours, 20)
		first = head(d)
	})
	alone := resume(said[0]-1, first)

	with(func(d *db.DB, c *pgx.Conn) {
		fill(t, c, theirs, rows)
		exec(t, c, `
			INSERT INTO members (channel_id, user_id, joined_seq, position, joined_at, left_seq)
			SELECT $1, 'bob', $2::bigint + 2 * s, 0, now(), $2 + 2 * s + 1
				FROM generate_series(1, $3::int) AS s`, theirs, said[19], rows/4)
		middle = head(d)
		posts(t, d, ours, 10)
		fill(t, c, theirs, rows)
		posts(t, d, ours, 10)
		last = head(d)
	})
	// indexes of three times as many rows may be one level deeper
	if crowded := resume(middle, last); crowded > alone+alone/2 {
		t.Errorf("got %d blocks with much before and beside it, want about %d as without", crowded, alone)
	}
}

// touched counts the blocks, cached or not, that statements of do read. All other connections to the database
// must have been closed.
func touched(t *testing.T, url string, do func(context.Context, *db.DB) error) (blocks int64) {
	t.Helper()
	const count = `
		SELECT sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0))::bigint
		FROM pg_statio_user_tables WHERE relname IN ('events', 'messages', 'members', 'channels')`
	c := dbtest.Connect(t, url)
	run := func() int64 {
		t.Helper()
		d, err := db.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if err := do(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		d.Close()
		backendsEnd(t, c) // a backend reports its statistics before it ends
		return column[int64](t, c, count)[0]
	}
	vacuum := dbtest.Connect(t, url)
	exec(t, vacuum, `VACUUM ANALYZE events, messages, members, channels`)
	_ = vacuum.Close(t.Context())
	backendsEnd(t, c)
	before := run()
	after := run()
	_ = c.Close(t.Context())
	return after - before
}
