package db_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"

	"github.com/google/uuid"
)

// rungUsers counts the rings for each user.
type rungUsers struct {
	mu    sync.Mutex
	rings map[string]int
}

func (r *rungUsers) ring(user string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rings[user]++
}

func (r *rungUsers) of(user string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rings[user]
}

// A ring for a user reaches the claims on all servers. What others send on the channel is ignored.
func TestWakesRingOnOtherServers(t *testing.T) {
	dbtest.Long(t) // TestTheDoorbellRingsOnOtherServers is fast
	t.Parallel()
	url := dbtest.New(t)
	start := func() (*db.DB, *rungUsers) {
		d := openURL(t, url)
		heard := &rungUsers{rings: map[string]int{}}
		d.OnWake(heard.ring)
		if _, err := d.Head(t.Context()); err != nil { // its epoch's secret seals the rings
			t.Fatal(err)
		}
		runDoorbell(t, d, url, discard())
		eventually(t, "it hears", d.Hears)
		return d, heard
	}
	one, here := start()
	other, there := start()
	eventually(t, "they hear each other", func() bool { return !one.Alone() && !other.Alone() })

	conn := dbtest.Connect(t, url)
	for _, payload := range []string{
		"", " ", "hello", "bot bot", one.Node(), one.Node() + " ", other.Node() + " mallory",
		other.Node() + "wmallory ", uuid.NewString() + "wbWFsbG9yeQ", strings.Repeat("x", 7000),
	} {
		exec(t, conn, `SELECT pg_notify('fabric_guild', $1)`, payload)
	}
	for i := range 500 { // more than one notification holds
		one.RingWakes(fmt.Sprintf("%s%d", strings.Repeat("u", 100), i))
	}
	one.RingWakes("bot")
	eventually(t, "the other server rings for bot", func() bool { return there.of("bot") == 1 })
	if here.of("bot") != 1 {
		t.Errorf("got %d rings for bot on its own server, want 1", here.of("bot"))
	}
	eventually(t, "the other server rings for all", func() bool {
		there.mu.Lock()
		defer there.mu.Unlock()
		return len(there.rings) >= 501
	})
	there.mu.Lock()
	defer there.mu.Unlock()
	for user := range there.rings {
		if user != "bot" && !strings.HasPrefix(user, "uuu") {
			t.Errorf("got a ring for %.20q, want none", user)
		}
	}
}
