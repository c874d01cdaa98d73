package db_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"

	"github.com/jackc/pgx/v5"
)

func key(user, route, name string) db.RequestKey {
	return db.RequestKey{User: user, Route: route, Key: name, BodyHash: []byte("hash")}
}

// recall recalls a key in a transaction of its own, and runs a function while it holds the key.
func recall(
	t *testing.T, d *db.DB, k db.RequestKey, remember string, meanwhile func(),
) (a *db.Answer, err error) {
	t.Helper()
	err = d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) (err error) {
		if a, err = tx.Recall(ctx, k); err != nil {
			return err
		}
		if meanwhile != nil {
			meanwhile()
		}
		if remember == "" {
			return nil
		}
		return tx.Remember(ctx, k, db.Answer{Status: 201, Body: []byte(remember)})
	})
	return a, err
}

func TestARequestInFlightRefusesTheSameKey(t *testing.T) {
	t.Parallel()
	d := open(t)
	k, other := key("ann", "POST /x", "k"), key("ann", "POST /x", "k")
	other.BodyHash = []byte("another")
	if a, err := recall(t, d, k, "the answer", func() {
		if _, err := recall(t, d, k, "", nil); !errors.Is(err, db.ErrInFlight) {
			t.Errorf("the same key: got %v, want %v", err, db.ErrInFlight)
		}
		for _, free := range []db.RequestKey{
			key("bob", "POST /x", "k"), key("ann", "POST /y", "k"),
			key("ann", "POST /x", "K"),
		} {
			if a, err := recall(t, d, free, "", nil); a != nil || err != nil {
				t.Errorf("%v: got %v and error %v, want it free", free, a, err)
			}
		}
	}); a != nil || err != nil {
		t.Fatalf("got %v and error %v, want nothing yet", a, err)
	}
	if a, err := recall(t, d, k, "", nil); err != nil || a == nil || a.Status != 201 ||
		string(a.Body) != "the answer" {
		t.Errorf("got %v and error %v, want the answer", a, err)
	}
	if _, err := recall(t, d, other, "", nil); !errors.Is(err, db.ErrOtherBody) {
		t.Errorf("another body: got %v, want %v", err, db.ErrOtherBody)
	}
}

// A transaction that fails does not keep its key.
func TestAFailedRequestDoesNotKeepItsKey(t *testing.T) {
	t.Parallel()
	d := open(t)
	k, failed := key("ann", "POST /x", "k"), errors.New("it failed")
	err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		if _, err := tx.Recall(ctx, k); err != nil {
			return err
		}
		if err := tx.Remember(ctx, k, db.Answer{Status: 201, Body: []byte("never")}); err != nil {
			return err
		}
		return failed
	})
	if !errors.Is(err, failed) {
		t.Fatal(err)
	}
	if a, err := recall(t, d, k, "", nil); a != nil || err != nil {
		t.Errorf("got %v and error %v, want nothing", a, err)
	}
}

// The sweeper deletes everything that is old, however much it is, and nothing else.
func TestTheSweeperDeletesOldKeysOnly(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d := openURL(t, url)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	for i := range 3 {
		if _, err := recall(t, d, key("ann", "POST /x", fmt.Sprint(i)), "kept", nil); err != nil {
			t.Fatal(err)
		}
	}
	const old = `
		INSERT INTO idempotency_keys (user_id, route, key, body_hash, status, answer, created_at)
		SELECT 'ann', 'old', n::text, '', 201, '', now() - interval '24 hours' - n * interval '1 second'
			FROM generate_series(0, 2499) AS n`
	if _, err := conn.Exec(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		d.RunSweeper(ctx, discard())
		close(done)
	}()
	left := -1
	ssetest.Await(func() bool {
		if err := conn.QueryRow(
			t.Context(), `SELECT count(*) FROM idempotency_keys`,
		).Scan(&left); err != nil {
			t.Fatal(err)
		}
		return left == 3
	})
	stop()
	<-done
	if left != 3 {
		t.Errorf("got %d keys left, want 3", left)
	}
}
