package db_test

import (
	"errors"
	"syscall"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
)

// Rule 36: the claim that creates a queue is on disk when it is answered. Otherwise a crash would undo it, and the
// queue would begin later.
func TestTheBeginningOfAQueueSurvivesACrash(t *testing.T) {
	t.Parallel()
	// Postgres writes asynchronous commits only after ten seconds.
	cluster := dbtest.NewCluster(t, "wal_writer_delay=10000")
	d := openURL(t, cluster.URL())
	channel, _ := create(t, d, "ann", "bot")
	at := position(t, d)
	if _, err := d.Claim(t.Context(), db.WakeClaim{User: "bot", Create: true, Since: at.Seq, At: at, Lease: 1e9, Limit: 1}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(cluster.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Postgres has ended and answers again", func() bool {
		_, err := d.Head(t.Context())
		return err == nil
	})
	if _, _, err := d.Due(t.Context(), "bot", at); errors.Is(err, db.ErrNotFound) {
		t.Errorf("got no queue of bot in %v after a crash, want it to begin at %v", channel, at)
	} else if err != nil {
		t.Error(err)
	}
}
