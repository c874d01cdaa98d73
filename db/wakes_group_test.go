package db_test

import (
	"errors"
	"fmt"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"

	"github.com/google/uuid"
)

// claimsOf starts a claim of each user. The answers come in any order.
func (q *queueTest) claimsOf(users ...string) <-chan claimed {
	q.t.Helper()
	at := position(q.t, q.d)
	answers := make(chan claimed, len(users))
	for _, user := range users {
		go func() {
			a, err := q.d.Claim(q.t.Context(), db.WakeClaim{
				User: user, At: at, Limit: 100, Lease: longLease, Around: 20, Rung: true,
			})
			answers <- claimed{user, a, err}
		}()
	}
	return answers
}

type claimed struct {
	user string
	db.Claimed
	err error
}

// fleet returns the names of agents who are all in the test's channel and have a queue.
func (q *queueTest) fleet(n int) (users []string) {
	q.t.Helper()
	for i := range n {
		users = append(users, fmt.Sprint("agent-", i))
	}
	q.channel, _ = create(q.t, q.d, append([]string{"ann"}, users...)...)
	for _, user := range users {
		q.claim(db.WakeClaim{User: user})
	}
	return users
}

// together makes claims of these users wait for one group, and returns their answers once it has begun.
func (q *queueTest) together(users ...string) <-chan claimed {
	q.t.Helper()
	held, release := db.HoldClaims(q.d)
	first := q.claimsOf("bot")
	<-held
	rest := q.claimsOf(users...)
	eventually(q.t, "all wait for one group", func() bool { return db.WaitingClaims(q.d) == len(users) })
	release()
	if a := <-first; a.err != nil {
		q.t.Fatal(a.err)
	}
	return rest
}

// wantTripsOfAGroup wants that a group of 16 claims makes as few round trips as one claim. prepare comes
// before each of ten groups, and check gets its answers.
func (q *queueTest) wantTripsOfAGroup(prepare func(), check func(answers []claimed)) {
	q.t.Helper()
	url, trips := countTrips(q.t, q.url)
	q.d = openURL(q.t, url)
	users := q.fleet(16)
	least := int64(1 << 30) // the first use of a connection prepares statements
	for range 10 {
		prepare()
		at := trips.Load()
		rest := q.together(users...)
		var answers []claimed
		for range users {
			answers = append(answers, <-rest)
		}
		least = min(least, trips.Load()-at)
		check(answers)
	}
	// 2 for each of the two positions, 2 for the first claim, and 2 for the others
	if least != 8 {
		q.t.Errorf("got %d round trips, want 8", least)
	}
}

// Claims that come together share a transaction: its BEGIN, its COMMIT and two round trips, however many
// they are. Each of them gets its own wake.
func TestClaimsThatComeTogether(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.wantTripsOfAGroup(func() { q.post("ann", "all of you") }, func(answers []claimed) {
		wakes := map[uuid.UUID]string{}
		for _, a := range answers {
			switch {
			case a.err != nil:
				t.Fatal(a.user, a.err)
			case a.Wake == nil || len(a.Wake.Shown.Messages) != 1:
				t.Fatalf("%s: got %+v, want the message", a.user, a.Wake)
			}
			wakes[a.Wake.ID] = a.user
		}
		if len(wakes) != len(answers) {
			t.Errorf("got %d wakes for %d agents", len(wakes), len(answers))
		}
		for wake, user := range wakes {
			if err := q.d.AckWake(t.Context(), db.WakeRef{User: user, ID: wake}, db.Ack{}); err != nil {
				t.Errorf("%s: %v", user, err)
			}
		}
	})
}

// Rule 56: a group has one claim of each user. A second one would lease what the first one has leased.
func TestAGroupHasOneClaimOfAUser(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	user := q.fleet(1)[0]
	q.post("ann", "work")
	answers := q.together(user, user)
	wakes := 0
	for range 2 {
		a := <-answers
		if a.err != nil {
			t.Fatal(a.err)
		}
		if a.Wake != nil {
			wakes++
		}
	}
	if wakes != 1 {
		t.Errorf("got %d wakes for one message, want 1", wakes)
	}
}

// A claim whose data Postgres refuses does not fail those beside it.
func TestAClaimThatFailsFailsAlone(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	users := q.fleet(2)
	q.post("ann", "work")
	const refused = "no\x00name"
	answers := q.together(append(users, refused)...)
	for range 3 {
		if a := <-answers; a.user != refused && (a.err != nil || a.Wake == nil) {
			t.Errorf("%s: got %+v, %v, want a wake", a.user, a.Claimed, a.err)
		} else if a.user == refused && a.err == nil {
			t.Error("got no error of a user whose name has a NUL")
		}
	}
}

// Rule 56: a group waits for nobody's queue, and a claim without a queue fails alone.
func TestAGroupOfClaimsWaitsForNobody(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	users := q.fleet(3)
	q.post("ann", "all of you")
	c := dbtest.Connect(t, q.url)
	const hold = `BEGIN; SELECT FROM wake_consumers WHERE user_id = 'agent-1' FOR UPDATE`
	exec(t, c, hold)
	answers := q.claimsOf(append(users, "stranger")...)
	for range 3 {
		a := <-answers
		switch {
		case a.user == "agent-1":
			t.Fatal("got an answer from the queue that is locked")
		case a.user == "stranger" && !errors.Is(a.err, db.ErrNotFound):
			t.Errorf("a claim without a queue: got %v, want %v", a.err, db.ErrNotFound)
		case a.user != "stranger" && (a.err != nil || a.Wake == nil):
			t.Errorf("%s: got %+v, %v, want a wake", a.user, a.Claimed, a.err)
		}
	}
	exec(t, c, `COMMIT`)
	if a := <-answers; a.err != nil || a.Wake == nil {
		t.Errorf("%s: got %+v, %v once its queue was free, want a wake", a.user, a.Claimed, a.err)
	}
}

// Rule 56: a row that another transaction holds does not hold up the claims of other users.
func TestARowThatIsHeld(t *testing.T) {
	t.Parallel()
	for name, hold := range map[string]string{
		"a wake":    `SELECT FROM wakes WHERE user_id = 'agent-1' FOR UPDATE`,
		"a worker":  `DELETE FROM wake_workers WHERE user_id = 'agent-1'`,
		"a queue":   `INSERT INTO wake_consumers (user_id, since_seq, scanned_seq) VALUES ('new', 0, 0)`,
		"an author": `INSERT INTO users (id) VALUES ('new')`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue(t)
			users := q.fleet(3)
			claim := db.WakeClaim{User: "agent-1", Worker: "w", Instance: "one", Rung: true}
			q.post("ann", "one")
			if q.wake(claim).Expired {
				t.Fatal("got a wake twice")
			}
			q.post("ann", "two")
			if name == "a queue" || name == "an author" {
				claim.User = "new"
			}
			c := dbtest.Connect(t, q.url)
			exec(t, c, `BEGIN; `+hold)
			held := make(chan error, 1)
			go func() {
				_, err := q.tryClaim(q.d, claim)
				held <- err
			}()
			awaitBlocked(t, q.url)
			answers := q.claimsOf(users[0], users[2])
			for range 2 {
				if a := <-answers; a.err != nil || a.Wake == nil {
					t.Errorf("%s: got %+v, %v, want a wake", a.user, a.Claimed, a.err)
				}
			}
			exec(t, c, `ROLLBACK`)
			if err := <-held; err != nil {
				t.Errorf("%s, once its row was free: %v", claim.User, err)
			}
		})
	}
}

// Rule 56: claims that find nothing share a transaction too.
func TestClaimsThatFindNothingTogether(t *testing.T) {
	t.Parallel()
	newQueue(t).wantTripsOfAGroup(func() {}, func(answers []claimed) {
		for _, a := range answers {
			if a.err != nil || a.Wake != nil {
				t.Fatalf("%s: got %+v, %v, want nothing", a.user, a.Wake, a.err)
			}
		}
	})
}

// If a group panics, those who share it do not take the wakes that it had prepared.
func TestAGroupThatPanicsLate(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	users := q.fleet(2)
	q.post("ann", "work")
	at := position(t, q.d)
	claim := func(user string, limit int) (a claimed) {
		defer func() {
			if r := recover(); r != nil {
				a.err = fmt.Errorf("panic: %v", r)
			}
		}()
		a.user = user
		a.Claimed, a.err = q.d.Claim(t.Context(), db.WakeClaim{
			User: user, At: at, Limit: limit, Lease: longLease, Rung: true,
		})
		return a
	}
	answers := make(chan claimed, 3)
	held, release := db.HoldClaims(q.d)
	go func() { answers <- claim("bot", 100) }()
	<-held
	go func() { answers <- claim(users[1], 0) }() // leads; no request has this limit, and the group panics
	eventually(t, "the first waits", func() bool { return db.WaitingClaims(q.d) == 1 })
	go func() { answers <- claim(users[0], 100) }()
	eventually(t, "both wait", func() bool { return db.WaitingClaims(q.d) == 2 })
	release()
	for range 3 {
		if a := <-answers; a.user != "bot" && a.err == nil {
			t.Errorf("%s: got the wake %+v of a group that panicked, and no error", a.user, a.Wake)
		}
	}
	if n := column[int](t, dbtest.Connect(t, q.url), `SELECT count(*) FROM wakes`)[0]; n != 0 {
		t.Errorf("got %d rows of a group that panicked", n)
	}
}
