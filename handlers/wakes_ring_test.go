package handlers_test

import (
	"slices"
	"testing"
	"time"

	"fabric-guild/events/ssetest"
	"fabric-guild/handlers"
	"fabric-guild/handlers/e2e/nodetest"
)

// Whatever makes work due on one server hands it to a claim that waits on another server, which never looks
// by itself here. The leases last longer than the test waits.
func TestWorkThatBecomesDueOnAnotherServer(t *testing.T) {
	t.Parallel()
	here := nodetest.Start(t, nodetest.Setup{})
	there := nodetest.Start(t, nodetest.Setup{Database: here.Database, State: here.State})
	for _, n := range []*nodetest.Node{here, there} {
		handlers.LookAtWakes(n.Server, time.Hour)
	}
	if !ssetest.Await(func() bool { return here.DB.Hears() && there.DB.Hears() }) {
		t.Fatal("the servers do not hear each other")
	}
	ann, bot, far := here.User("ann"), here.User("bot"), there.User("bot")
	ops := ann.General(t, "ops", "bot").Channel.ID
	other := ann.General(t, "other", "bot").Channel.ID
	lease := nodetest.Body{"leaseSeconds": 600, "limit": 1, "worker": "w", "instance": "one"}
	bot.Claim(t, lease)

	// handedOver starts a claim there, lets do make work due here, and returns what the claim gets.
	handedOver := func(do func()) *nodetest.Wake {
		t.Helper()
		got := make(chan *nodetest.Wake, 1)
		go func() {
			defer close(got)
			got <- far.Claim(t, nodetest.Body{
				"leaseSeconds": 600, "limit": 1, "waitSeconds": 60,
				"worker": "w", "instance": "one",
			})
		}()
		if !ssetest.Await(func() bool { return handlers.ClaimsAreIdle(there.Server, "bot") }) {
			t.Fatal("the claim does not wait")
		}
		do()
		return <-got
	}
	ann.Says(t, ops, "one")
	ann.Says(t, ops, "two")
	ann.Says(t, ops, "three")
	w := bot.Wake(t, lease)
	get := func(what, text string, do func()) {
		t.Helper()
		next := handedOver(do)
		if next == nil || !slices.Equal(nodetest.Texts(next.Messages), []string{text}) {
			t.Fatalf("%s: got %+v, want the message %s", what, next, text)
		}
		w = next
	}
	end := func(how string, b nodetest.Body) func() {
		return func() { bot.Done(t, "POST", "/api/wakes/"+w.ID+"/"+how, b) }
	}
	get("an ack", "two", end("ack", nodetest.Body{}))
	get("a nack without a pause", "two", end("nack", nodetest.Body{"delaySeconds": 0}))
	get("a nack with a pause", "two", end("nack", nodetest.Body{"delaySeconds": 1}))
	get("a takeover", "two", func() {
		bot.Claim(t, nodetest.Body{"worker": "w", "instance": "two", "channelIds": []string{other}})
	})
	get("a reply", "three", func() { bot.Reply(t, w, "done", nil) })
	ann.Says(t, ops, "four")
	get("a stop and an ack", "four", func() {
		ann.Done(t, "POST", "/api/channels/"+ops+"/stop", nodetest.Body{"userId": "bot"})
		end("ack", nodetest.Body{})()
	})
	end("ack", nodetest.Body{})()
	dead := bot.Queue(t).Dead
	if len(dead) != 1 {
		t.Fatalf("got %d dead wakes, want the one that was stopped", len(dead))
	}
	get("a retry", "three", func() {
		bot.Done(t, "POST", "/api/wakes/dead/"+dead[0].ID+"/retry", nil)
	})
	if w := handedOver(func() { bot.Done(t, "DELETE", "/api/wakes", nil) }); w != nil {
		t.Errorf("got %+v after the queue was closed, want nothing", w)
	}
	if q := bot.Queue(t); len(q.Pending)+len(q.Claimed)+len(q.Dead) > 0 {
		t.Errorf("got %+v, want nothing in a closed queue", q)
	}
	ann.Says(t, ops, "five")
	if w := bot.Claim(t, nodetest.Body{}); w != nil {
		t.Errorf("got %+v for the claim that begins the queue again, want nothing: a claim that waited "+
			"opened it", w)
	}
}

// Two parts of a channel are not worked on at the same time. When the work on one ends, the other one goes to
// a claim that waits, on another server too.
func TestAPartThatWaitsForAnother(t *testing.T) {
	t.Parallel()
	here := nodetest.Start(t, nodetest.Setup{})
	there := nodetest.Start(t, nodetest.Setup{Database: here.Database, State: here.State})
	for _, n := range []*nodetest.Node{here, there} {
		handlers.LookAtWakes(n.Server, time.Hour)
	}
	ann := here.User("ann")
	for _, how := range []string{"reply", "ack"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			id := "bot-" + how
			bot, far := here.User(id), there.User(id)
			ops := ann.General(t, "ops", id).Channel.ID
			bot.Claim(t, nodetest.Body{})
			ann.Says(t, ops, "old")
			w := bot.Wake(t, nodetest.Body{})
			bot.Done(t, "POST", "/api/wakes/"+w.ID+"/ack", nodetest.Body{"outcome": "declined"})
			ann.Says(t, ops, "new")
			w = bot.Wake(t, nodetest.Body{})
			bot.Done(t, "POST", "/api/wakes/dead/"+bot.Queue(t).Dead[0].ID+"/retry", nil)
			got := make(chan *nodetest.Wake, 1)
			go func() {
				defer close(got)
				got <- far.Claim(t, nodetest.Body{"waitSeconds": 60})
			}()
			if !ssetest.Await(func() bool { return handlers.ClaimsAreIdle(there.Server, id) }) {
				t.Fatal("the claim does not wait")
			}
			if how == "reply" {
				bot.Reply(t, w, "done", nil)
			} else {
				bot.Done(t, "POST", "/api/wakes/"+w.ID+"/ack", nodetest.Body{})
			}
			next := <-got
			if next == nil || !slices.Equal(nodetest.Texts(next.Messages), []string{"old"}) {
				t.Errorf("got %+v, want the part that was retried", next)
			}
		})
	}
}
