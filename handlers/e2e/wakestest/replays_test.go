package wakestest_test

import (
	"testing"

	"fabric-guild/handlers/e2e/nodetest"
)

// again sends a post, and wants the stored answer of an earlier one.
func again(t *testing.T, u *nodetest.User, channel string, b nodetest.Body, first string, headers ...string) {
	t.Helper()
	a, err := u.Do("POST", nodetest.PathOf(channel), b, headers...)
	if err != nil || a.String() != first || a.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("%v: got %v and error %v, want %s again", b, a, err, first)
	}
}

// stores sends a post with a key, and wants it stored.
func stores(t *testing.T, u *nodetest.User, channel, key string, b nodetest.Body) (answer string) {
	t.Helper()
	a, err := u.Do("POST", nodetest.PathOf(channel), b, "Idempotency-Key", key)
	if err != nil || a.Status != 201 || a.Header.Get("Idempotency-Replayed") != "" {
		t.Fatalf("%v: got %v and error %v, want it stored", b, a, err)
	}
	return a.String()
}

// A worker that has lost its wake may repeat its post with the next wake and the same key. The stored message
// ends the next wake if it answers what that wake handed out, and has ended no wake yet.
func TestAReplayedAnswerAndTheNextWake(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	bot.Claim(t, nodetest.Body{})
	for _, xType := range []string{"general", "discuss"} {
		id := ann.Makes(t, xType, []string{"bot"}, nil).Channel.ID
		here := nodetest.Body{"channelIds": []string{id}}
		gaveBack := func(w *nodetest.Wake) {
			t.Helper()
			bot.Done(t, "POST", "/api/wakes/"+w.ID+"/nack", nodetest.Body{"delaySeconds": 0})
		}
		stays := func(why string, w *nodetest.Wake) {
			t.Helper()
			if q := bot.Queue(t); len(q.Claimed) != 1 || q.Claimed[0].ID != w.ID {
				t.Errorf("%s, %s: got the claimed wakes %+v, want that the wake stays", xType, why, q.Claimed)
			}
		}
		ends := func(why string, w *nodetest.Wake, message string) {
			t.Helper()
			if q := bot.Queue(t); len(q.Claimed) != 0 {
				t.Errorf("%s, %s: got the claimed wakes %+v, want none", xType, why, q.Claimed)
			}
			if got := n.Count(t, `SELECT count(*) FROM messages m
				JOIN messages o ON o.channel_id = m.channel_id
					AND o.seq BETWEEN m.wake_first AND m.wake_upto AND o.content = $3
				WHERE m.wake_id = $1 AND m.content = $2`, w.ID, "answer", message); got != 1 {
				t.Errorf("%s, %s: got %d messages that answer %s, want 1", xType, why, got, message)
			}
		}

		ann.Says(t, id, "one")
		w := bot.Wake(t, here)
		b := nodetest.Body{"content": "answer", "wakeId": w.ID, "keepWake": true}
		first := stores(t, bot, id, "k", b)
		gaveBack(w)
		w = bot.Wake(t, here)
		b["wakeId"] = w.ID
		again(t, bot, id, b, first, "Idempotency-Key", "k")
		stays("with keepWake", w)
		gaveBack(w)
		ann.Makes(t, "general", nil, nil) // so that the numbers differ
		if xType == "discuss" {
			bot.Turns(t, id, nodetest.Body{"action": "give", "userId": "bot"})
		}
		ann.Says(t, id, "two")
		n.Settle(t) // a claim looks no further than the node has read
		w = bot.Wake(t, here)
		b["wakeId"] = w.ID
		delete(b, "keepWake")
		again(t, bot, id, b, first, "Idempotency-Key", "k")
		stays("which handed out a newer message", w)
		bot.Done(t, "POST", "/api/wakes/"+w.ID+"/ack", nodetest.Body{"outcome": "declined"})

		ann.Says(t, id, "three")
		w = bot.Wake(t, here)
		b["wakeId"], b["keepWake"] = w.ID, true
		first = stores(t, bot, id, "k2", b)
		gaveBack(w)
		w = bot.Wake(t, here)
		b["wakeId"] = w.ID
		delete(b, "keepWake")
		again(t, bot, id, b, first, "Idempotency-Key", "k2")
		ends("which handed out the same", w, "three")

		var dead string
		for _, q := range bot.Queue(t).Dead {
			if q.ChannelID == id {
				dead = q.ID
			}
		}
		bot.Done(t, "POST", "/api/wakes/dead/"+dead+"/retry", nil)
		w = bot.Wake(t, here)
		b["wakeId"] = w.ID
		again(t, bot, id, b, first, "Idempotency-Key", "k2")
		stays("by a message that has ended another one", w)
		bot.Done(t, "POST", "/api/wakes/"+w.ID+"/ack", nodetest.Body{})
	}
}

// A reply that is repeated without a key gets its first answer, also in a channel that was archived
// meanwhile, and after its author has left it. A post that keeps its wake is stored again. Nobody else gets
// the answer.
func TestARepeatedReplyWithoutAKey(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot, eve := n.User("ann"), n.User("bot"), n.User("eve")
	bot.Claim(t, nodetest.Body{})
	for _, xType := range []string{"general", "discuss"} {
		id := ann.Makes(t, xType, []string{"bot", "eve"}, nil).Channel.ID
		ann.Says(t, id, "one")
		w := bot.Wake(t, nodetest.Body{"channelIds": []string{id}})
		b := nodetest.Body{"content": "hm", "wakeId": w.ID, "keepWake": true}
		for range 2 {
			nodetest.Call[any](t, bot, 201, "POST", nodetest.PathOf(id), b)
		}
		b = nodetest.Body{"content": "answer", "wakeId": w.ID}
		a, err := bot.Do("POST", nodetest.PathOf(id), b)
		if err != nil || a.Status != 201 {
			t.Fatalf("%s: got %v and error %v, want the reply stored", xType, a, err)
		}
		first := a.String()
		again(t, bot, id, b, first)
		ann.Says(t, id, "two")
		again(t, bot, id, b, first)
		eve.Refused(t, 409, "wake_lost", "POST", nodetest.PathOf(id), b)
		bot.Refused(t, 409, "wake_lost", "POST", nodetest.PathOf(id), b, "Idempotency-Key", "k")
		b["keepWake"] = true
		bot.Refused(t, 409, "wake_lost", "POST", nodetest.PathOf(id), b)
		delete(b, "keepWake")
		nodetest.Call[any](t, ann, 200, "DELETE", "/api/channels/"+id, nil)
		again(t, bot, id, b, first)
		if got := n.Count(t, `SELECT count(*) FROM messages WHERE channel_id = $1 AND author_user_id = 'bot'`,
			id); got != 3 {
			t.Errorf("%s: got %d messages of bot, want two that keep the wake, and one reply", xType, got)
		}
	}
}
