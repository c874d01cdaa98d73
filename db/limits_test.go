package db_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"

	"github.com/google/uuid"
)

// The limit of a user's memberships is exact, even if many transactions add the user at the same moment.
func TestMembershipsHaveALimit(t *testing.T) {
	dbtest.Long(t) // TestJoinsHaveALimit is fast
	t.Parallel()
	url := dbtest.New(t)
	d, c := openURL(t, url), dbtest.Connect(t, url)
	const free, atOnce = 4, 12
	others, _ := create(t, d, "mallory", "ann")
	create := func(members ...string) error {
		ch := events.Channel{
			ID: uuid.Must(uuid.NewV7()), GuildID: "g1", Name: "ops", XType: events.General,
			History: "joined", CreatedBy: members[0], Settings: events.DefaultSettings(events.General),
		}
		return d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			_, _, err := tx.CreateChannel(ctx, &ch, members, nil)
			return err
		})
	}
	channelsOf(t, c, "eve", true, db.MaxMemberships-free)
	channelsOf(t, c, "ben", true, db.MaxMemberships-1)
	var done, refused atomic.Int32
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			var full *db.TooManyMemberships
			switch err := create("mallory", "eve", "ann"); {
			case err == nil:
				done.Add(1)
			case errors.As(err, &full) && full.User == "eve":
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if done.Load() != free || refused.Load() != atOnce-free {
		t.Errorf("got %d new channels and %d refusals, want %d and %d",
			done.Load(), refused.Load(), free, atOnce-free)
	}
	join := func(user string) error {
		return d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			_, err := tx.AddMember(ctx, others, user)
			return err
		})
	}
	var full *db.TooManyMemberships
	if err := join("eve"); !errors.As(err, &full) {
		t.Errorf("a join beyond the limit: got %v, want it refused", err)
	}
	exec(t, c, `UPDATE members SET left_seq = joined_seq + 1
		WHERE user_id = 'eve' AND channel_id = (SELECT channel_id FROM members
			WHERE user_id = 'eve' LIMIT 1)`)
	if err := join("eve"); err != nil {
		t.Errorf("after she left one: got %v, want it done", err)
	}
	if err := errors.Join(join("ben"), create("ann", "zoe")); err != nil {
		t.Errorf("others: got %v, want it done", err)
	}
}

// A user can join the same channel only so often, because each membership is kept.
func TestJoinsHaveALimit(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d, c := openURL(t, url), dbtest.Connect(t, url)
	channel, _ := create(t, d, "alice")
	comeAndGo(t, c, channel, db.MaxJoins)
	join := func(user string) error {
		return d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			_, err := tx.AddMember(ctx, channel, user)
			return err
		})
	}
	exec(t, c, `UPDATE members SET joined_at = now() - interval '1 hour' WHERE user_id = 'bob'`)
	var often *db.TooManyJoins
	if err := join("bob"); !errors.As(err, &often) || often.Wait > 23*time.Hour || often.Wait < 22*time.Hour {
		t.Errorf("got %v, want it refused for 23 hours", err)
	}
	if err := join("carol"); err != nil {
		t.Errorf("another user: got %v, want it done", err)
	}
	exec(t, c, `UPDATE members SET joined_at = now() - interval '25 hours'
		WHERE user_id = 'bob' AND joined_seq = (SELECT min(joined_seq) FROM members WHERE user_id = 'bob')`)
	if err := join("bob"); err != nil {
		t.Errorf("once the first join is a day old: got %v, want it done", err)
	}
}

// Rule 5: nothing waits after a number is drawn. The sweeper, or an edit, may hold the row of an old key.
func TestRecallWaitsForAnOldKeyBeforeTheNumberIsDrawn(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d, sweeper := openURL(t, url), dbtest.Connect(t, url)
	watch := dbtest.Connect(t, url)
	channel, _ := create(t, d, "alice")
	k := key("alice", "POST /x", "k")
	if _, err := recall(t, d, k, "of yesterday", nil); err != nil {
		t.Fatal(err)
	}
	exec(t, sweeper, `UPDATE idempotency_keys SET created_at = now() - interval '25 hours'`)
	exec(t, sweeper, `BEGIN`)
	exec(t, sweeper, `DELETE FROM idempotency_keys`)
	done := make(chan error, 1)
	go func() {
		done <- d.InTx(context.WithoutCancel(t.Context()), func(ctx context.Context, tx db.Tx) error {
			if _, err := tx.Recall(ctx, k); err != nil {
				return err
			}
			if _, err := tx.UpdateChannel(ctx, channel, "alice",
				db.ChannelUpdate{Name: new("new")}); err != nil {
				return err
			}
			return tx.Remember(ctx, k, db.Answer{Status: 201, Body: []byte("of today")})
		})
	}()
	awaitBlocked(t, url) // for the row
	if held := column[bool](t, watch, `SELECT horizon < last FROM log_horizon()`)[0]; held {
		t.Error("a transaction that waits holds the horizon")
	}
	exec(t, sweeper, `COMMIT`)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if a, err := recall(t, d, k, "", nil); err != nil || a == nil || string(a.Body) != "of today" {
		t.Errorf("got %v and error %v, want the later answer", a, err)
	}
}
