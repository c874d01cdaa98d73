package db_test

import (
	"context"
	"fmt"
	"testing"

	"fabric-guild/db"

	"github.com/google/uuid"
)

// A claim reads few channels with its first round trip, and many channels with another one. In both cases,
// and at the border, each channel's message is handed out once.
func TestClaimsInFewAndInManyChannels(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, n := range []int{1, 7, 8, 9, 20} {
		user := fmt.Sprint("bot", n)
		claim := func() *db.Wake {
			t.Helper()
			at := position(t, d)
			a, err := d.Claim(t.Context(), db.WakeClaim{
				User: user, Create: true, Since: at.Seq, At: at, Lease: 1e12, Limit: 100, Around: 20,
			})
			if err != nil {
				t.Fatal(err)
			}
			return a.Wake
		}
		claim()
		left, _ := create(t, d, "ann", user) // a membership that has ended does not count
		if err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			_, err := tx.RemoveMember(ctx, left, user)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		owed := map[uuid.UUID]bool{}
		for range n {
			channel, _ := create(t, d, "ann", user)
			owed[channel] = true
			post(t, d, channel, "ann", "hi")
		}
		for range n {
			w := claim()
			if w == nil {
				t.Errorf("%d channels: got no wake, want those of %d channels", n, len(owed))
				break
			}
			if c := w.Shown.Channel.ID; !owed[c] || len(w.Shown.Messages) != 1 || w.Shown.Last == nil {
				t.Errorf("%d channels: got %+v, want one message of a channel not yet handed out", n, w.Shown)
			}
			delete(owed, w.Shown.Channel.ID)
		}
		if w := claim(); w != nil {
			t.Errorf("%d channels: got %+v after all channels", n, w)
		}
	}
}
