package db_test

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"

	"github.com/jackc/pgx/v5"
)

// Rule 36: the claim that creates a queue is on disk when it is answered. Otherwise a crash would undo it,
// and the queue would begin later.
func TestTheBeginningOfAQueueSurvivesACrash(t *testing.T) {
	t.Parallel()
	// Postgres writes asynchronous commits only after ten seconds.
	cluster := dbtest.NewCluster(t, "wal_writer_delay=10000")
	d := openURL(t, cluster.URL())
	channel, _ := create(t, d, "ann", "bot")
	at := position(t, d)
	if _, err := d.Claim(t.Context(),
		db.WakeClaim{User: "bot", Create: true, Since: at.Seq, At: at, Lease: 1e9, Limit: 1}); err != nil {
		t.Fatal(err)
	}
	began := `SELECT pg_postmaster_start_time()`
	before := column[time.Time](t, dbtest.Connect(t, cluster.URL()), began)[0]
	if err := syscall.Kill(cluster.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Postgres has ended and answers again", func() bool {
		conn, err := pgx.Connect(t.Context(), cluster.URL())
		if err != nil {
			return false
		}
		defer func() { _ = conn.Close(t.Context()) }()
		var at time.Time
		return conn.QueryRow(t.Context(), began).Scan(&at) == nil && at.After(before)
	})
	eventually(t, "the server has a connection again", func() bool {
		_, err := d.Head(t.Context())
		return err == nil
	})
	if _, _, err := d.Due(t.Context(), "bot", at); errors.Is(err, db.ErrNotFound) {
		t.Errorf("got no queue of bot in %v after a crash, want it to begin at %v", channel, at)
	} else if err != nil {
		t.Error(err)
	}
}
