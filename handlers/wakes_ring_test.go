package handlers_test

import (
	"slices"
	"testing"
	"time"

	"fabric-guild/handlers"
)

// Whatever makes work due on one server hands it to a claim that waits on another server, which never looks by
// itself here. The leases last longer than the test waits.
func TestWorkThatBecomesDueOnAnotherServer(t *testing.T) {
	t.Parallel()
	here := start(t, setup{})
	there := start(t, setup{database: here.database, state: here.state})
	for _, n := range []*node{here, there} {
		handlers.LookAtWakes(n.server, time.Hour)
	}
	if !eventually(func() bool { return here.db.Hears() && there.db.Hears() }) {
		t.Fatal("the servers do not hear each other")
	}
	ann, bot, far := here.user("ann"), here.user("bot"), there.user("bot")
	ops := ann.general(t, "ops", "bot").Channel.ID
	other := ann.general(t, "other", "bot").Channel.ID
	lease := body{"leaseSeconds": 600, "limit": 1, "worker": "w", "instance": "one"}
	bot.claim(t, lease)

	// handedOver starts a claim there, lets do make work due here, and returns what the claim gets.
	handedOver := func(do func()) *wake {
		t.Helper()
		got := make(chan *wake, 1)
		go func() {
			defer close(got)
			got <- far.claim(t, body{"leaseSeconds": 600, "limit": 1, "waitSeconds": 60, "worker": "w", "instance": "one"})
		}()
		if !eventually(func() bool { return handlers.ClaimsAreIdle(there.server, "bot") }) {
			t.Fatal("the claim does not wait")
		}
		do()
		return <-got
	}
	ann.says(t, ops, "one")
	ann.says(t, ops, "two")
	ann.says(t, ops, "three")
	w := bot.wake(t, lease)
	get := func(what, text string, do func()) {
		t.Helper()
		next := handedOver(do)
		if next == nil || !slices.Equal(texts(next.Messages), []string{text}) {
			t.Fatalf("%s: got %+v, want the message %s", what, next, text)
		}
		w = next
	}
	end := func(how string, b body) func() {
		return func() { bot.done(t, "POST", "/api/wakes/"+w.ID+"/"+how, b) }
	}
	get("an ack", "two", end("ack", body{}))
	get("a nack without a pause", "two", end("nack", body{"delaySeconds": 0}))
	get("a nack with a pause", "two", end("nack", body{"delaySeconds": 1}))
	get("a takeover", "two", func() {
		bot.claim(t, body{"worker": "w", "instance": "two", "channelIds": []string{other}})
	})
	get("a reply", "three", func() { bot.reply(t, w, "done", nil) })
	ann.says(t, ops, "four")
	get("a stop and an ack", "four", func() {
		ann.done(t, "POST", "/api/channels/"+ops+"/stop", body{"userId": "bot"})
		end("ack", body{})()
	})
	end("ack", body{})()
	dead := bot.queue(t).Dead
	if len(dead) != 1 {
		t.Fatalf("got %d dead wakes, want the one that was stopped", len(dead))
	}
	get("a retry", "three", func() {
		bot.done(t, "POST", "/api/wakes/dead/"+dead[0].ID+"/retry", nil)
	})
	if w := handedOver(func() { bot.done(t, "DELETE", "/api/wakes", nil) }); w != nil {
		t.Errorf("got %+v after the queue was closed, want nothing", w)
	}
	if q := bot.queue(t); len(q.Pending)+len(q.Claimed)+len(q.Dead) > 0 {
		t.Errorf("got %+v, want nothing in a closed queue", q)
	}
	ann.says(t, ops, "five")
	if w := bot.claim(t, body{}); w != nil {
		t.Errorf("got %+v for the claim that begins the queue again, want nothing: a claim that waited opened it", w)
	}
}

// done makes a change whose answer has no content.
func (u *user) done(t testing.TB, method, path string, b body) {
	t.Helper()
	var content any
	if b != nil {
		content = b
	}
	if a, err := u.do(method, path, content); err != nil || a.status != 204 {
		t.Fatalf("%s: %s %s: got %v and error %v, want status 204", u.id, method, path, a, err)
	}
}

type queuedWake struct {
	ID         string  `json:"id"`
	ChannelID  string  `json:"channelId"`
	Reason     string  `json:"reason"`
	Attempts   int     `json:"attempts"`
	At         string  `json:"at"`
	LeaseUntil *string `json:"leaseUntil"`
	NotBefore  *string `json:"notBefore"`
	Worker     *string `json:"worker"`
	Status     *string `json:"status"`
	Outcome    *string `json:"outcome"`
	Note       *string `json:"note"`
	Error      *string `json:"error"`
}

type queue struct {
	Pending []queuedWake `json:"pending"`
	Claimed []queuedWake `json:"claimed"`
	Dead    []queuedWake `json:"dead"`
	Behind  bool         `json:"behind"`
	Next    *string      `json:"next"`
}

// queue returns the user's own list of wakes.
func (u *user) queue(t testing.TB) queue {
	t.Helper()
	return call[queue](t, u, 200, "GET", "/api/wakes", nil)
}
