package db_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
)

// manyPosts posts in channels of several types, which other makes, with everything that a post may have. It
// returns the position before, and the number of posts.
func manyPosts(t *testing.T, d, other *db.DB) (from events.Cursor, want int) {
	t.Helper()
	var channels []uuid.UUID
	for _, x := range []events.XType{events.General, events.Report, events.Triage, events.Custom} {
		c := events.Channel{
			ID: uuid.Must(uuid.NewV7()), GuildID: "g1", Name: "the " + string(x), XType: x,
			History: "joined", CreatedBy: "alice", Settings: events.DefaultSettings(x),
		}
		var wake []string
		if x == events.Triage || x == events.Custom {
			wake = []string{"carol", "bob"}
		}
		if err := other.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			_, _, err := tx.CreateChannel(ctx, &c, []string{"alice", "bob", "carol"}, wake)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		channels = append(channels, c.ID)
	}
	from, err := d.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, channel := range channels {
		first := post(t, d, channel, "alice", "hi")
		reply := newMessage(channel, "bob", "hi <@alice> <@carol>", "carol", "alice", "mallory")
		reply.ReplyTo, reply.Admin = &first.ID, "boss"
		old := newMessage(channel, "bob", "by the older rule", "alice")
		old.TwoState = true
		for _, m := range []db.NewMessage{reply, old} {
			if _, err := d.Post(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		want += 3
	}
	return from, want
}

// asRead are the options of a comparison of events that a server knows with events that it reads. Lists of a
// known event may be unsorted or nil. Facts corrects that.
var asRead = []cmp.Option{
	cmpopts.IgnoreUnexported(events.Event{}, events.Message{}), cmpopts.EquateEmpty(),
	cmpopts.SortSlices(func(a, b string) bool { return a < b }),
	cmpopts.IgnoreFields(events.Tail{}, "Horizon", "Last"), // set only by a read of the rows
}

// A server shows its own posts without reading them. They must be equal to what another server reads.
func TestOwnPostsAreTailedAsTheyAreStored(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d, other := openURL(t, url), openURL(t, url)
	from, want := manyPosts(t, d, other)
	rows, err := other.Tail(t.Context(), from, 100)
	if err != nil {
		t.Fatal(err)
	}
	own := d.Known(from, 100)
	if len(rows.Events) != want {
		t.Fatalf("got %d events, want %d", len(rows.Events), want)
	}
	if diff := cmp.Diff(rows, own, asRead...); diff != "" {
		t.Errorf("-read +own:\n%s", diff)
	}
	for i := range rows.Events {
		if diff := cmp.Diff(rows.Events[i].Message.Facts(), own.Events[i].Message.Facts(),
			cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("the facts of message %d (-read +own):\n%s", i, diff)
		}
	}
	if again := d.Known(from, 100); len(again.Events) != 0 {
		t.Errorf("got %v a second time", seqs(again.Events))
	}
}

// An undecided number, or one of another server, stops a server from using its own posts.
func TestOwnPostsStopAtAnUnknownNumber(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d, other := openURL(t, url), openURL(t, url)
	channel, from := create(t, d, "alice")
	var want []int64
	for i := range 6 {
		by := d
		if i%3 == 2 {
			by = other
		}
		want = append(want, post(t, by, channel, "alice", fmt.Sprint(i)).Cursor.Seq)
	}
	var got []int64
	for at := from; len(got) < len(want); {
		read := follow(t, d, at, 100)
		if len(read.Events) == 0 {
			t.Fatalf("after %v: got no event", at)
		}
		got = append(got, seqs(read.Events)...)
		at = read.Events[len(read.Events)-1].Cursor
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("two nodes' posts (-want +got):\n%s", diff)
	}

	head := events.Cursor{Epoch: from.Epoch, Seq: want[len(want)-1]}
	late := dbtest.Connect(t, url)
	exec(t, late, `BEGIN`)
	exec(t, late, `INSERT INTO events (kind, channel_id, user_id) VALUES ('channel.updated', $1, 'alice')`,
		channel)
	p := post(t, d, channel, "alice", "drawn later")
	if read := follow(t, d, head, 100); len(read.Events) != 0 || !read.Pending {
		t.Errorf("before the smaller number is decided: got %v, pending %v", seqs(read.Events), read.Pending)
	}
	exec(t, late, `ROLLBACK`)
	if read := follow(t, d, head, 100); len(read.Events) != 1 || read.Events[0].Cursor != p.Cursor {
		t.Errorf("after a number that was rolled back: got %v, want %v", seqs(read.Events), p.Cursor)
	}
}

// Posts of one group share a statement, and nothing else.
func TestABadPostDoesNotFailItsGroup(t *testing.T) {
	dbtest.Long(t) // TestAGroupCountsAsOneByOne is fast
	t.Parallel()
	url := dbtest.New(t)
	d := openURL(t, url)
	free, from := create(t, d, "alice")
	held, _ := create(t, d, "alice")
	holder := dbtest.Connect(t, url)
	exec(t, holder, `BEGIN`)
	exec(t, holder, `SELECT pg_advisory_xact_lock($1, hashtext($2::uuid::text))`, int32(0x46470002), held)

	var good, waiting sync.WaitGroup
	errs := make(chan error, 200)
	for i := range 100 {
		good.Go(func() {
			m := newMessage(free, "alice", "fine")
			switch i % 10 {
			case 3:
				// handlers refuse it; here it stands for any text that Postgres cannot store
				m.Content = "not text: \x00"
			case 7:
				m.AuthorUserID = "mallory"
			}
			_, err := d.Post(t.Context(), m)
			if bad := i%10 == 3 || i%10 == 7; (err != nil) != bad ||
				i%10 == 7 && !errors.Is(err, db.ErrRefused) {
				errs <- fmt.Errorf("post %d: got %w", i, err)
			}
		})
		if i%5 < 2 { // more posts than there are connections
			waiting.Go(func() {
				if _, err := d.Post(t.Context(), newMessage(held, "alice", "waits")); err != nil {
					errs <- err
				}
			})
		}
	}
	good.Wait()           // although another transaction holds the other channel
	for n := 0; n < 10; { // until every connection of transactions waits for the channel
		if err := holder.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE NOT granted
			AND locktype = 'advisory'
			AND database = (SELECT oid FROM pg_database
				WHERE datname = current_database())`).Scan(&n); err != nil {
			t.Fatal(err)
		}
	}
	exec(t, holder, `COMMIT`)
	waiting.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	read, err := d.Tail(t.Context(), events.Cursor{Seq: from.Seq}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	count := map[uuid.UUID]int{}
	for _, e := range read.Events {
		if e.Kind == events.MessageCreated {
			count[e.ChannelID]++
		}
	}
	if diff := cmp.Diff(map[uuid.UUID]int{free: 80, held: 40}, count); diff != "" {
		t.Errorf("messages in the log (-want +got):\n%s", diff)
	}
}
