package db_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"
)

// A page ends the backlog only if no more numbers were found. A number whose event is missing makes a page
// short, but not the last.
func TestAShortPageIsNotTheLast(t *testing.T) {
	t.Parallel()
	for _, channels := range []int{1, 20} { // few intervals, many
		t.Run(fmt.Sprint(channels), func(t *testing.T) {
			t.Parallel()
			url := dbtest.New(t)
			d, c := openURL(t, url), dbtest.Connect(t, url)
			channel, created := create(t, d, "alice", "bob")
			for range channels - 1 {
				create(t, d, "bob")
			}
			fill(t, c, channel, 1200)
			head, err := d.Head(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			exec(t, c,
				`DELETE FROM events WHERE seq = (SELECT seq FROM events WHERE kind = 'message.created'
					ORDER BY seq OFFSET 100 LIMIT 1)`)
			got := 0
			for at := created.Seq; at < head.Seq; {
				page, err := d.Replay(t.Context(), "bob", at, head.Seq)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range page.Events {
					if e.Message != nil {
						got++
					}
				}
				at = page.Reached
			}
			if got != 1199 {
				t.Errorf("got %d messages, want all 1,199", got)
			}
		})
	}
}

// A user who has left sees a channel's name as it was then: in a replay, in a snapshot of an earlier place,
// and on a server that reads the leave and the rename together. Members see the names that they would have
// seen live.
func TestFormerMembersDoNotSeeNewNames(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d, other := openURL(t, url), openURL(t, url)
	head, err := d.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	channel, created := create(t, d, "alice", "eve")
	change := func(do func(ctx context.Context, tx db.Tx) (events.Cursor, error)) (at events.Cursor) {
		t.Helper()
		err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
			at, err = do(ctx, tx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	rename := func(name string) events.Cursor {
		return change(func(ctx context.Context, tx db.Tx) (events.Cursor, error) {
			return tx.UpdateChannel(ctx, channel, "alice", db.ChannelUpdate{Name: new(name)})
		})
	}
	rename("while she was in")
	left := change(func(ctx context.Context, tx db.Tx) (events.Cursor, error) {
		return tx.RemoveMember(ctx, channel, "eve")
	})
	change(func(ctx context.Context, tx db.Tx) (events.Cursor, error) {
		return tx.SetWakeList(ctx, channel, "alice", []string{"alice"})
	})
	rename("secret")
	end := rename("more secret")

	names := func(list []*events.Event) (names []string) {
		for _, e := range list {
			names = append(names, e.Name)
		}
		return names
	}
	page, err := d.Replay(t.Context(), "eve", head.Seq, end.Seq)
	if err != nil {
		t.Fatal(err)
	}
	var replayed []*events.Event
	for _, h := range page.Events {
		replayed = append(replayed, h.Event)
	}
	const was = "while she was in"
	first := replayed[0].Name
	if got, want := names(replayed), []string{first, was, was}; !slices.Equal(got, want) ||
		first == "secret" || first == was || first == "more secret" {
		t.Errorf("replayed: got the names %q, want %q", got, want)
	}
	tail, err := other.Tail(t.Context(), head, 100)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(tail.Events),
		[]string{first, was, was, was, "secret", "more secret"}; !slices.Equal(got, want) {
		t.Errorf("tailed: got the names %q, want %q", got, want)
	}
	for user, want := range map[string]string{"eve": was, "alice": "more secret"} {
		of, err := d.Memberships(t.Context(), []string{user}, created.Seq,
			events.Place{Left: created.Seq}, 10)
		if err != nil || len(of[user]) != 1 || of[user][0].Channel.Name != want {
			t.Errorf("%s, as of the beginning: got %v and error %v, want the name %q", user,
				of[user], err, want)
		}
	}
	if of, err := d.Memberships(t.Context(), []string{"eve"}, left.Seq, events.Place{Left: left.Seq},
		10); err != nil || len(of) > 0 {
		t.Errorf("eve, after she left: got %v and error %v, want nothing", of, err)
	}
}

// Memberships come in pages, for each user separately: current memberships by channel, then past ones by
// their end.
func TestMembershipsComeInPages(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d, c := openURL(t, url), dbtest.Connect(t, url)
	channel, _ := create(t, d, "alice")
	channelsOf(t, c, "bob", true, 25)
	channelsOf(t, c, "carol", true, 3)
	comeAndGo(t, c, channel, 12)
	head, err := d.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const limit = 10
	from := events.Place{}
	var bob []events.Membership
	for page := make([]events.Membership, limit); len(page) == limit; {
		of, err := d.Memberships(t.Context(), []string{"bob", "carol", "dave"}, head.Seq, from, limit)
		if err != nil {
			t.Fatal(err)
		}
		if from == (events.Place{}) && len(of["carol"]) != 3 || len(of["dave"]) > 0 {
			t.Errorf("got %d memberships of carol and %d of dave, want 3 and none", len(of["carol"]),
				len(of["dave"]))
		}
		page = of["bob"]
		bob = append(bob, page...)
		if len(page) > 0 {
			from = from.After(page)
		}
	}
	seen := map[events.Interval]bool{}
	for i, m := range bob {
		seen[m.Interval] = true
		if i > 0 && bob[i-1].Left > 0 && m.Left <= bob[i-1].Left {
			t.Errorf("membership %d ends at %d, want after %d", i, m.Left, bob[i-1].Left)
		}
	}
	if len(bob) != 25+12 || len(seen) != len(bob) {
		t.Errorf("got %d memberships, %d of them different, want %d", len(bob), len(seen), 25+12)
	}
}
