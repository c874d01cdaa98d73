package db_test

import (
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
)

// A server learns that another one fills the search index, and that it has stopped.
func TestOneServerFillsTheSearchIndex(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	first, second := openURL(t, url), openURL(t, url)
	channel, _ := create(t, first, "alice")
	index := func(d *db.DB) (others bool) {
		t.Helper()
		head, err := d.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if others, err = d.IndexWords(t.Context(), head); err != nil {
			t.Fatal(err)
		}
		return others
	}
	for i, tt := range []struct {
		d    *db.DB
		post bool
		want bool
	}{
		{first, true, false},
		{second, false, false}, // it has not looked before
		{first, true, false},
		{second, false, true},
		{second, false, false},
		{second, true, false},
		{first, false, true},
	} {
		if tt.post {
			post(t, first, channel, "alice", "hello")
		}
		if got := index(tt.d); got != tt.want {
			t.Errorf("step %d: got %t, want %t for whether others fill the index", i, got, tt.want)
		}
	}
}
