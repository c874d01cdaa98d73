package wakestest_test

import (
	"testing"

	"fabric-guild/handlers/e2e/nodetest"
)

// state returns what the deliveries of a message say of bot's work on it: the state, the status of a worker,
// and the note.
func state(t *testing.T, u *nodetest.User, message string) string {
	t.Helper()
	type explained struct {
		UserID  string  `json:"userId"`
		Outcome string  `json:"outcome"`
		Reason  string  `json:"reason"`
		State   string  `json:"state"`
		Since   *string `json:"since"`
		Status  string  `json:"status"`
		Note    string  `json:"note"`
	}
	for _, d := range nodetest.Call[nodetest.List[explained]](t, u, 200, "GET",
		"/api/messages/"+message+"/deliveries", nil).Items {
		if (d.Since != nil) != (d.State == "claimed") {
			t.Errorf("%s: got %+v, want since with claimed alone", d.UserID, d)
		}
		if d.UserID != "bot" && d.State+d.Status+d.Note != "" && d.State != "unmanaged" {
			t.Errorf("%s: got %+v, want no work", d.UserID, d)
		}
		if d.UserID == "bot" {
			return d.State + d.Status + d.Note
		}
	}
	return "not there"
}

// The deliveries of a message say how the work on it stands, whoever asks, and whatever has happened to it.
func TestStateOfDeliveries(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	ops := ann.General(t, "ops", "bot", "carol").Channel.ID
	says := func(text string) string { return ann.Says(t, ops, text).Message.ID }
	want := func(when, message, want string) {
		t.Helper()
		if got := state(t, n.User("carol"), message); got != want {
			t.Errorf("%s: got %q, want %q", when, got, want)
		}
	}
	end := func(w *nodetest.Wake, how string, b nodetest.Body) {
		t.Helper()
		bot.Done(t, "POST", "/api/wakes/"+w.ID+"/"+how, b)
	}
	old := says("old")
	want("without a queue", old, "unmanaged")
	n.Settle(t)
	bot.Claim(t, nodetest.Body{})
	want("from before the queue", old, "unmanaged")
	one := says("one")
	want("above the scan", one, "pending")
	quiet := says("to nobody here <@ann> <@carol>")
	want("that woke others", quiet, "")
	two := says("two <@bot>")
	w := bot.Wake(t, nodetest.Body{"limit": 1})
	want("handed out", one, "claimed")
	want("not handed out", two, "pending")
	nodetest.Call[any](t, bot, 200, "POST", "/api/wakes/"+w.ID+"/extend",
		nodetest.Body{"status": "reading", "leaseSeconds": 600})
	want("with a status", one, "claimedreading")
	n.Exec(t, `UPDATE wakes SET lease_until = clock_timestamp()`)
	want("after the lease", one, "pending")
	bot.Reply(t, w, "done", nil)
	want("answered late", one, "done")
	want("the rest", two, "pending")
	w = bot.Wake(t, nodetest.Body{})
	end(w, "ack", nodetest.Body{"outcome": "declined", "note": "no time"})
	want("declined", two, "declinedno time")
	want("answered before", one, "done")
	dead := bot.Queue(t).Dead[0].ID
	bot.Done(t, "POST", "/api/wakes/dead/"+dead+"/retry", nil)
	want("retried", two, "pending")
	w = bot.Wake(t, nodetest.Body{})
	want("retried and claimed", two, "claimed")
	want("beside a retried part", one, "done")
	bot.Reply(t, w, "now", nil)
	want("retried and answered", two, "done")

	three := says("three <@bot>")
	w = bot.Wake(t, nodetest.Body{})
	ann.Done(t, "POST", "/api/channels/"+ops+"/stop", nodetest.Body{"userId": "bot"})
	want("asked to stop", three, "claimed")
	end(w, "nack", nodetest.Body{"error": "secret"})
	want("stopped", three, "stopped")
	bot.Done(t, "DELETE", "/api/wakes/dead/"+bot.Queue(t).Dead[0].ID, nil)
	want("hidden", three, "stopped")

	four := says("four <@bot>")
	w = bot.Wake(t, nodetest.Body{})
	n.Exec(t, `UPDATE wakes SET attempts = 5`)
	end(w, "nack", nodetest.Body{"error": "secret"})
	want("dead", four, "dead")

	five := says("five")
	w = bot.Wake(t, nodetest.Body{})
	end(w, "nack", nodetest.Body{"delaySeconds": 0})
	n.Exec(t, `UPDATE messages SET created_at = created_at - interval '1 hour'`)
	if w := bot.Claim(t, nodetest.Body{"maxAgeSeconds": 60}); w != nil {
		t.Errorf("got %+v, want nothing: the message is too old", w)
	}
	want("too old", five, "expired")

	six := says("six")
	ann.Deletes(t, six)
	want("deleted", six, "")
	seven := says("seven")
	bot.Leave(t, ops)
	want("of a user who has left", seven, "")
	want("from before the queue, of a user who has left", old, "unmanaged")
	bot.Join(t, ops)
	want("of a user who is back", seven, "")
	eight := says("eight")
	want("after the return", eight, "pending")
	nodetest.Call[any](t, ann, 200, "DELETE", "/api/channels/"+ops, nil)
	want("archived", eight, "")
	bot.Done(t, "DELETE", "/api/wakes", nil)
	want("without a queue", eight, "unmanaged")
}

// Any member may ask a worker to stop, with the route or with a command. The worker hears it when it extends
// its lease, and when it posts.
func TestStop(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot, eve := n.User("ann"), n.User("bot"), n.User("eve")
	far := n.User("ann", "g2")
	bot.Claim(t, nodetest.Body{})
	type said struct {
		Command string `json:"command"`
	}
	for _, how := range []string{"route", "command"} {
		ops := ann.General(t, "ops", "bot", "carol").Channel.ID
		stop := func(u *nodetest.User, status int, code string) {
			t.Helper()
			path, b := "/api/channels/"+ops+"/stop", nodetest.Body{"userId": "bot"}
			if how == "command" {
				path, b = nodetest.PathOf(ops), nodetest.Body{"content": "/stop <@bot>"}
			}
			switch {
			case code != "":
				u.WantRefused(t, status, code, "POST", path, b)
			case how == "route":
				u.Done(t, "POST", path, b)
			default:
				nodetest.Call[said](t, u, 200, "POST", path, b)
			}
		}
		stops := func(w *nodetest.Wake) bool {
			t.Helper()
			return nodetest.Call[nodetest.KeptWake](t, bot, 200, "POST", "/api/wakes/"+w.ID+"/extend",
				nodetest.Body{"leaseSeconds": 600}).Stop
		}
		stop(ann, 409, "nothing_to_stop")
		ann.Says(t, ops, "one")
		w := bot.Wake(t, nodetest.Body{})
		stop(eve, 403, "not_member")
		stop(far, 404, "channel_not_found")
		if stops(w) {
			t.Errorf("%s: the worker must stop, though no member wants it", how)
		}
		stop(n.User("carol"), 0, "")
		if !stops(w) || !bot.Reply(t, w, "hm", nodetest.Body{"keepWake": true}).Wake.Stop {
			t.Errorf("%s: the worker does not hear that it must stop", how)
		}
		if got := n.Count(t, `SELECT count(*) FROM messages WHERE content LIKE '/stop%'`); got != 0 {
			t.Errorf("%s: got %d messages of a command", how, got)
		}
		bot.Done(t, "POST", "/api/wakes/"+w.ID+"/nack", nodetest.Body{"delaySeconds": 0})
		if next := bot.Claim(t, nodetest.Body{}); next != nil {
			t.Errorf("%s: got %+v after a stop, want nothing", how, next)
		}
		stop(ann, 409, "nothing_to_stop")
	}
}
