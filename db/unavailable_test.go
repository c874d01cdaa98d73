package db_test

import (
	"errors"
	"strings"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
)

// A database that refuses connections is unavailable, for whatever reason, and the error says what to do.
func TestADatabaseThatRefusesConnectionsIsUnavailable(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d := openURL(t, url)
	admin := dbtest.Connect(t, url)
	exec(t, admin, `DO $$ BEGIN
		EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC, %I', current_database(), current_user);
		PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
			AND pid <> pg_backend_pid();
	END $$`)
	var err error
	for range 3 { // connections that were ended are detected first
		_, err = d.Head(t.Context())
	}
	if !errors.Is(err, db.ErrUnavailable) || !strings.Contains(err.Error(), "(SQLSTATE 42501)") ||
		!strings.Contains(err.Error(), "make it the owner") {
		t.Errorf("got %v, want %v, what to do, and why", err, db.ErrUnavailable)
	}
}

// After a restore by another user, the tables may belong to that user. Then posts are refused, and the error
// says what to do.
func TestTablesOfAnotherUser(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d := openURL(t, url)
	channel, _ := create(t, d, "alice")
	exec(t, dbtest.Connect(t, url), `REVOKE ALL ON messages FROM CURRENT_USER`)
	_, err := d.Post(t.Context(), newMessage(channel, "alice", "hi"))
	if !errors.Is(err, db.ErrUnavailable) || !strings.Contains(err.Error(), "make it the owner") {
		t.Errorf("got %v, want %v, and what to do", err, db.ErrUnavailable)
	}
}
