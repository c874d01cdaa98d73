package handlers_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"fabric-guild/handlers"
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/nodetest"
)

// A user who has made all changes that are allowed is refused, and the answer says when to come back. Reads
// are not counted, and neither are the changes of others.
func TestChangesAreRateLimited(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{Edge: config.Edge{RateLimit: 5}})
	alice := n.User("alice")
	id := alice.General(t, "ops", "bob").Channel.ID
	if err := handlers.SpendChanges(n.Server, "alice"); err != nil {
		t.Fatal(err)
	}
	path := "/api/channels/" + id + "/messages"
	a, err := alice.Do("POST", path, nodetest.Body{"content": "hi"})
	if err != nil {
		t.Fatal(err)
	}
	nodetest.WantProblem(t, a, 429, "rate_limited")
	for name, want := range map[string]string{
		"RateLimit-Policy": `"user";q=50;w=10`, "RateLimit": `"user";r=0;t=10`, "Retry-After": "1",
	} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("got %s %q, want %q", name, got, want)
		}
	}
	alice.Refused(t, 429, "rate_limited", "POST", "/api/session", nil) // it reads the database, too
	nodetest.Call[nodetest.Roomy](t, alice, 200, "GET", "/api/channels/"+id, nil)
	n.User("bob").Post(t, id, "hi")
}

// Activity has a rate of its own, which leaves changes alone. The message comes after all of the activity.
func TestActivityIsRateLimited(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{Edge: config.Edge{RateLimit: 100}})
	alice := n.User("alice")
	channel := "/api/channels/" + alice.General(t, "ops").Channel.ID
	listening, _ := alice.Fresh(t, nodetest.Raw, "?activity=true")
	typing := nodetest.Body{"kind": "typing"}
	for i := range 500 {
		a, err := alice.Do("POST", channel+"/activity", typing)
		if err != nil || a.Status != 202 {
			t.Fatalf("activity %d: got %v and error %v, want 500 at once", i, a, err)
		}
	}
	if err := handlers.SpendActivity(n.Server, "bob"); err != nil {
		t.Fatal(err)
	}
	bob := n.User("bob")
	bob.Join(t, strings.TrimPrefix(channel, "/api/channels/"))
	bob.Refused(t, 429, "rate_limited", "POST", channel+"/activity", typing)
	a, err := bob.Do("POST", channel+"/messages", nodetest.Body{"content": "final"})
	if err != nil || a.Status != 201 || !strings.Contains(a.Header.Get("RateLimit"), ";r=99") {
		t.Errorf("got %v with %v and error %v, want a change that is allowed", a, a.Header, err)
	}
	for listening.Next(t).Event != "message.created" {
	}
}

// A user whose reads have taken more time than a user may opens no stream that begins with a snapshot. The
// user may still resume, and other users do not wait. A cursor that cannot be continued is no way around
// this.
func TestSnapshotsAreWork(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice := n.User("alice")
	cursor := alice.General(t, "ops", "bob").Cursor
	handlers.SpendWork(n.Server, "alice")
	for _, query := range []string{"", "?snapshot=true&lastEventId=" + cursor} {
		s, err := alice.Connect(nodetest.Raw, query)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "429") ||
			!strings.Contains(err.Error(), "too_many_requests") {
			t.Errorf("%q: got error %v, want a refusal", query, err)
		}
	}
	alice.Refused(t, 429, "too_many_requests", "GET", "/api/events", nil)
	alice.Resume(t, nodetest.Raw, "", cursor)
	alice.Poll(t, "after="+cursor)
	n.User("bob").Fresh(t, nodetest.Raw, "")
	alice.Refused(t, 429, "too_many_requests", "GET", "/api/events?after=1.1", nil)
}

// A request that waits for a place among the readers of the database is not charged for the wait: others keep
// the places. Alice may spend half a second more, and waits for three.
func TestAWaitForAPlaceIsNotWork(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/api/sync", "/api/search?q=word"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			n := nodetest.Start(t, nodetest.Setup{})
			alice := n.User("alice")
			alice.General(t, "ops")
			handlers.Work(n.Server, "alice", 3500*time.Millisecond)
			var places []func()
			for { // the last one does not come
				soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				done, err := n.DB.Reading(soon)
				cancel()
				if err != nil {
					break
				}
				places = append(places, done)
			}
			time.AfterFunc(3*time.Second, func() {
				for _, done := range places {
					done()
				}
			})
			for range 2 { // the second one would be refused
				nodetest.Call[map[string]any](t, alice, 200, "GET", path, nil)
			}
		})
	}
}
