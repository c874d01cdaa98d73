package db_test

import (
	"testing"

	"fabric-guild/db/dbtest"
)

// LOG rule 11: where a page ends may be handed out as a cursor, so it is the number of an event, also where
// many of the numbers that were drawn are of none.
func TestAPageEndsAtACommittedNumber(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d := openURL(t, url)
	channel, created := create(t, d, "alice")
	c := connect(t, url)
	exec(t, c, `SELECT setval('events_seq', $1)`, created.Seq+30_000) // as many were rolled back
	first := post(t, d, channel, "alice", "after the gap").Cursor.Seq
	exec(t, c, `SELECT setval('events_seq', $1)`, first+20_000)
	last := post(t, d, channel, "alice", "after another").Cursor.Seq
	var reached []int64
	for at := created.Seq; at < last; {
		page, err := d.Replay(t.Context(), "bob", at, last) // for whom there is nothing
		if err != nil {
			t.Fatal(err)
		}
		at = page.Reached
		reached = append(reached, at)
	}
	if len(reached) != 2 || reached[0] != first || reached[1] != last {
		t.Errorf("got pages up to %v, want %v", reached, []int64{first, last})
	}
}
