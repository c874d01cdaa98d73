package handlers_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"
	"fabric-guild/events/live"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers"
	"fabric-guild/handlers/e2e/nodetest"
)

// A state that is read slowly counts as of the time before the read, so it does not replace what another
// server has shown since. And it is read again.
func TestAStateThatIsReadSlowly(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice, agent := n.User("alice"), n.User("agent")
	channel := alice.General(t, "ops", "agent").Channel.ID
	agent.Claim(t, nodetest.Body{})
	alice.Post(t, channel, "hi <@agent>")
	agent.Wake(t, nodetest.Body{"leaseSeconds": nodetest.LongLease})
	var change db.WorkChange
	sql := dbtest.Connect(t, n.Database)
	const row = `SELECT user_id, channel_id, first_seq, claimed_upto FROM wakes`
	if err := sql.QueryRow(t.Context(), row).Scan(
		&change.User, &change.Channel, &change.First, &change.Upto,
	); err != nil {
		t.Fatal(err)
	}
	tx, err := sql.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `LOCK TABLE wakes`); err != nil {
		t.Fatal(err)
	}
	var shown []*events.Signal
	done := make(chan struct{})
	go func() {
		defer close(done)
		handlers.ShowWork(n.Server, t.Context(), change, func(s *events.Signal) { shown = append(shown, s) })
	}()
	ssetest.Eventually(t, "the read waits", func() bool { return n.Blocked(t) > 0 })
	waits := time.Now().UnixNano()
	<-time.After(live.SignalPace) // the shortest time that the read takes
	if _, err := tx.Exec(t.Context(), `UPDATE wakes SET lease_until = clock_timestamp()`); err != nil {
		t.Fatal(err)
	}
	ended := time.Now().UnixNano()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-done
	if len(shown) < 2 {
		t.Fatalf("got %d signals, want one after each read", len(shown))
	}
	first, last := shown[0], shown[len(shown)-1]
	if first.Sent > waits {
		t.Errorf("got the first signal as of %d, want a time before its read", first.Sent)
	}
	if last.Sent < ended || !strings.Contains(string(last.Data), `"pending"`) {
		t.Errorf("got %s as of %d, want the state after %d", last.Data, last.Sent, ended)
	}
	if first.ChannelID != uuid.MustParse(channel) {
		t.Errorf("got a signal of channel %s, want %s", first.ChannelID, channel)
	}
}
