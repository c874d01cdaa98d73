package db_test

import (
	"context"
	"slices"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"

	"github.com/google/go-cmp/cmp"
)

// A list that was replaced before any post is deleted. A list that decided a message stays.
func TestUnusedWakeListsAreDeleted(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d, c := openURL(t, url), dbtest.Connect(t, url)
	channel, _ := create(t, d, "alice", "bob")
	exec(t, c, `UPDATE channels SET x_type = 'custom' WHERE id = $1`, channel)
	set := func(users ...string) {
		t.Helper()
		err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			if err := tx.LockChannel(ctx, channel); err != nil {
				return err
			}
			_, err := tx.SetWakeList(ctx, channel, "alice", users)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	versions := func() []int32 {
		return column[int32](t, c, `SELECT version FROM wake_lists WHERE channel_id = $1 ORDER BY version`,
			channel)
	}
	for range 3 {
		set("bob")
	}
	if diff := cmp.Diff([]int32{3}, versions()); diff != "" {
		t.Errorf("before any post (-want +got):\n%s", diff)
	}
	p := post(t, d, channel, "alice", "for bob")
	set("alice")
	set([]string{}...)
	if diff := cmp.Diff([]int32{3, 5}, versions()); diff != "" {
		t.Errorf("after one (-want +got):\n%s", diff)
	}
	page, err := d.Replay(t.Context(), "bob", p.Cursor.Seq-1, p.Cursor.Seq)
	if err != nil || len(page.Events) != 1 ||
		!slices.Equal(page.Events[0].Message.WakeList, []string{"bob"}) {
		t.Errorf("got %+v, %v; want the message with its own list", page, err)
	}
}
