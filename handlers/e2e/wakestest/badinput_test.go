package wakestest_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"

	"fabric-guild/handlers/e2e/nodetest"
)

// A claim or an extension with a value out of its bounds is refused. It opens no queue, and changes no lease.
func TestNumbersOutOfBounds(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	refused := func(path, name string, values ...string) {
		t.Helper()
		for _, value := range values {
			bot.WantRefused(t, 400, "malformed", "POST", path, fmt.Sprintf(`{%q:%s}`, name, value))
		}
	}
	leases := []string{"0", "-1", "4", "601", "36000", "5.5", "1e400", "NaN", "Infinity", `"60"`, "true"}
	const claim = "/api/wakes/claim"
	refused(claim, "leaseSeconds", leases...)
	refused(claim, "waitSeconds", "-1", "61", "NaN", "0.5", `"9"`)
	refused(claim, "limit", "0", "101", "-1", "NaN")
	refused(claim, "context", "-1", "101", "NaN")
	refused(claim, "maxAgeSeconds", "0", "-1", "1e10", "NaN")
	refused(claim, "channelIds", `["x"]`, `"x"`, `[null]`, `[]`)
	refused(claim, "worker", `""`, `7`)
	if got := n.Count(t, `SELECT count(*) FROM wake_consumers`); got != 0 {
		t.Errorf("got %d queues, want none: every claim was refused", got)
	}
	bot.Claim(t, nodetest.Body{})
	ops := ann.General(t, "ops", "bot").Channel.ID
	ann.Says(t, ops, "one")
	refused(claim, "channelIds", `[]`)
	w := bot.Wake(t, nodetest.Body{"leaseSeconds": 600, "channelIds": nil}) // null is as good as absent
	refused("/api/wakes/"+w.ID+"/extend", "leaseSeconds", leases...)
	refused("/api/wakes/"+w.ID+"/nack", "delaySeconds", "-1", "86401", "NaN", `"9"`)
	refused("/api/wakes/"+w.ID+"/ack", "outcome", `"dead"`, `""`, "7")
	if q := bot.Queue(t); len(q.Claimed) != 1 || *q.Claimed[0].LeaseUntil != w.LeaseUntil {
		t.Errorf("got %+v, want the wake as it was claimed, until %s", q.Claimed, w.LeaseUntil)
	}
}

// Who names a wake of another user, a dead one, one that has ended, or one that never was, has lost it.
// Nothing is stored, and the wake of the other user stays.
func TestIDsOfNoWake(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot, eve := n.User("ann"), n.User("bot"), n.User("eve")
	ops := ann.General(t, "ops", "bot", "eve").Channel.ID
	bot.Claim(t, nodetest.Body{})
	eve.Claim(t, nodetest.Body{})
	ann.Says(t, ops, "declined <@bot>")
	declined := bot.Wake(t, nodetest.Body{}).ID
	bot.Done(t, "POST", "/api/wakes/"+declined+"/ack", nodetest.Body{"outcome": "declined"})
	dead := bot.Queue(t).Dead[0].ID
	ann.Says(t, ops, "answered <@bot>")
	answered := bot.Wake(t, nodetest.Body{})
	bot.Reply(t, answered, "re <@ann>", nil)
	ann.Says(t, ops, "work <@bot>")
	w := bot.Wake(t, nodetest.Body{"leaseSeconds": 600})
	stored := n.Count(t, `SELECT count(*) FROM messages`)
	for _, tt := range []struct {
		what string
		user *nodetest.User
		id   string
	}{
		{"another user's wake", eve, w.ID},
		{"another user's dead wake", eve, dead},
		{"the id that a dead wake had", bot, declined},
		{"a dead wake", bot, dead},
		{"a wake that never was", bot, uuid.NewString()},
		{"no wake at all", bot, uuid.Nil.String()},
		{"a channel", bot, ops},
	} {
		t.Log(tt.what)
		for _, end := range []string{"extend", "ack", "nack"} {
			tt.user.Refused(t, 409, "wake_lost", "POST", "/api/wakes/"+tt.id+"/"+end, nodetest.Body{})
		}
		for _, headers := range [][]string{nil, {"Idempotency-Key", tt.what}} {
			for _, keep := range []bool{false, true} {
				tt.user.Refused(t, 409, "wake_lost", "POST", "/api/channels/"+ops+"/messages",
					nodetest.Body{"content": "re", "wakeId": tt.id, "keepWake": keep}, headers...)
			}
		}
		if tt.id != dead || tt.user != bot {
			tt.user.Refused(t, 404, "wake_not_found", "POST", "/api/wakes/dead/"+tt.id+"/retry", nil)
			tt.user.Refused(t, 404, "wake_not_found", "DELETE", "/api/wakes/dead/"+tt.id, nil)
		}
	}
	for _, end := range []string{"extend", "ack", "nack"} {
		bot.Refused(t, 409, "wake_lost", "POST", "/api/wakes/"+answered.ID+"/"+end, nodetest.Body{})
	}
	if got := n.Count(t, `SELECT count(*) FROM messages`); got != stored {
		t.Errorf("got %d messages, want %d", got, stored)
	}
	q := bot.Queue(t)
	if len(q.Claimed) != 1 || *q.Claimed[0].LeaseUntil != w.LeaseUntil || len(q.Dead) != 1 {
		t.Errorf("got %+v, want the claimed wake and the dead one as they were", q)
	}
	bot.Reply(t, w, "re <@ann>", nil)
}

// A reply whose wake somebody else has claimed since stores nothing, and leaves its key unused. keepWake
// without a wake is refused, and leaves its key unused too.
func TestALostReplyLeavesItsKeyUnused(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	bot.Claim(t, nodetest.Body{})
	for _, xType := range []string{"general", "discuss"} {
		for _, keep := range []bool{false, true} {
			id := ann.Makes(t, xType, []string{"bot"}, nil).Channel.ID
			path := "/api/channels/" + id + "/messages"
			here := nodetest.Body{
				"channelIds": []string{id}, "waitSeconds": 60, "worker": id, "instance": "one",
			}
			ann.Says(t, id, "work")
			late := bot.Wake(t, here)
			here["instance"] = "two"
			w := bot.Wake(t, here)
			lost := nodetest.Body{"content": "late", "wakeId": late.ID, "keepWake": keep}
			bot.Refused(t, 409, "wake_lost", "POST", path, lost)
			bot.Refused(t, 409, "wake_lost", "POST", path, lost, "Idempotency-Key", "late")
			alone := nodetest.Body{"content": "x", "keepWake": true}
			bot.WantRefused(t, 422, "invalid", "POST", path, alone)
			bot.WantRefused(t, 422, "invalid", "POST", path, alone, "Idempotency-Key", "alone")
			if got := n.Count(t, `SELECT count(*) FROM messages WHERE channel_id = $1`, id); got != 1 {
				t.Errorf("%s, keepWake %v: got %d messages, want only ann's", xType, keep, got)
			}
			// The keys are free for other requests.
			for i, key := range []string{"late", "alone"} {
				b := nodetest.Body{"content": fmt.Sprint("re ", i), "wakeId": w.ID, "keepWake": i == 0}
				a, err := bot.Do("POST", path, b, "Idempotency-Key", key)
				if err != nil || a.Status != 201 || a.Header.Get("Idempotency-Replayed") != "" {
					t.Errorf("%s, keepWake %v: got %v and error %v with the key %s, want a new message",
						xType, keep, a, err, key)
				}
			}
		}
	}
}

// A user without channels may claim, and gets what comes later.
func TestAClaimWithoutChannels(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	for _, b := range []nodetest.Body{{}, {"waitSeconds": 1}, {"channelIds": []string{uuid.NewString()}}} {
		if w := bot.Claim(t, b); w != nil {
			t.Errorf("%v: got %+v, want nothing", b, w)
		}
	}
	if q := bot.Queue(t); len(q.Pending)+len(q.Claimed)+len(q.Dead) > 0 || q.Behind {
		t.Errorf("got %+v, want an empty queue", q)
	}
	got := make(chan []string, 1)
	go func() {
		w := bot.Claim(t, nodetest.Body{"waitSeconds": 60})
		if w == nil {
			close(got)
			return
		}
		got <- nodetest.Texts(w.Messages)
	}()
	ops := ann.General(t, "ops", "bot").Channel.ID
	ann.Says(t, ops, "welcome")
	if texts := <-got; !slices.Equal(texts, []string{"welcome"}) {
		t.Errorf("got %q, want the first message of the first channel", texts)
	}
}
