package handlers_test

import (
	"testing"

	"github.com/google/uuid"
)

// A token for other guilds sees nothing of a wake, on any route.
func TestWakesOfOtherGuilds(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bot := n.user("ann"), n.user("bot")
	far := n.user("bot", "g2")
	ops := ann.general(t, "ops", "bot").Channel.ID
	bot.claim(t, body{})
	ann.says(t, ops, "one")
	n.settle(t)
	if got := far.claim(t, body{}); got != nil {
		t.Errorf("with a pending wake: got %+v, want nothing", got)
	}
	w := bot.wake(t, body{"limit": 1})
	ann.says(t, ops, "two")
	if got := far.claim(t, body{}); got != nil {
		t.Errorf("with a claimed wake: got %+v, want nothing", got)
	}
	lists := func(where string) {
		t.Helper()
		if q := far.queue(t); len(q.Pending)+len(q.Claimed)+len(q.Dead) > 0 {
			t.Errorf("%s: got %+v, want nothing", where, q)
		}
	}
	lists("with a claimed wake")
	for _, end := range []string{"extend", "ack", "nack"} {
		far.refused(t, 409, "wake_lost", "POST", "/api/wakes/"+w.ID+"/"+end, body{})
	}
	far.refused(t, 409, "wake_lost", "POST", "/api/channels/"+ops+"/messages", body{"content": "re", "wakeId": w.ID})
	far.wantRefused(t, 409, "wake_lost", "POST", "/api/channels/"+ops+"/messages", body{"content": "re", "wakeId": w.ID}, "Idempotency-Key", "k")
	far.refused(t, 404, "channel_not_found", "POST", "/api/channels/"+ops+"/stop", body{"userId": "bot"})
	bot.reply(t, w, "done", nil)
	far.refused(t, 409, "wake_lost", "POST", "/api/channels/"+ops+"/messages", body{"content": "re", "wakeId": w.ID})

	w = bot.wake(t, body{})
	bot.done(t, "POST", "/api/wakes/"+w.ID+"/ack", body{"outcome": "declined", "note": "no"})
	lists("with a dead wake")
	dead := bot.queue(t).Dead[0].ID
	far.refused(t, 404, "wake_not_found", "POST", "/api/wakes/dead/"+dead+"/retry", nil)
	far.refused(t, 404, "wake_not_found", "DELETE", "/api/wakes/dead/"+dead, nil)
	far.refused(t, 403, "guild_forbidden", "DELETE", "/api/wakes", nil)
	bot.refused(t, 404, "wake_not_found", "DELETE", "/api/wakes/dead/"+uuid.NewString(), nil)
	bot.done(t, "DELETE", "/api/wakes/dead/"+dead, nil)
	if q := bot.queue(t); len(q.Dead) > 0 {
		t.Errorf("got %+v, want no dead wake after it was hidden", q.Dead)
	}
}

// What a claim and a reply accept: since counts only where the queue begins, worker needs no instance, and a wake
// belongs to its channel.
func TestFieldsOfClaimsAndReplies(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bot := n.user("ann"), n.user("bot")
	ops := ann.general(t, "ops", "bot").Channel.ID
	other := ann.general(t, "other", "bot").Channel.ID
	bot.refused(t, 422, "invalid", "POST", "/api/wakes/claim", body{"since": "1.1"})
	bot.claim(t, body{"worker": "w"})
	bot.claim(t, body{"since": "1.1"}) // ignored: the queue is there
	bot.refused(t, 400, "cursor_malformed", "POST", "/api/wakes/claim", body{"since": "x"})
	ann.says(t, ops, "one")
	w := bot.wake(t, body{"worker": "w"})
	bot.refused(t, 422, "invalid", "POST", "/api/channels/"+other+"/messages", body{"content": "re", "wakeId": w.ID})
	bot.refused(t, 422, "invalid", "POST", "/api/channels/"+ops+"/messages", body{"content": "/stop <@bot>", "wakeId": w.ID})
	if q := bot.queue(t); len(q.Claimed) != 1 {
		t.Errorf("got %+v, want the wake still claimed", q)
	}
	for _, status := range []string{"reading", ""} {
		call[any](t, bot, 200, "POST", "/api/wakes/"+w.ID+"/extend", body{"status": status})
		got := bot.queue(t).Claimed[0].Status
		if status == "" && got != nil || status != "" && (got == nil || *got != status) {
			t.Errorf("status %q: got %v", status, got)
		}
	}
	bot.reply(t, w, "re", nil)
}

// The list shows no work of which nothing is owed any more, also before a claim finds that out.
func TestListOfWakesHasOnlyWhatIsOwed(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bot := n.user("ann"), n.user("bot")
	bot.claim(t, body{})
	for _, end := range []string{"delete", "leave and join"} {
		ops := ann.general(t, "ops", "bot").Channel.ID
		m := ann.says(t, ops, "one").Message.ID
		n.settle(t)
		if q := bot.queue(t); len(q.Pending) != 1 {
			t.Fatalf("%s: got %+v, want one pending wake", end, q)
		}
		if end == "delete" {
			call[any](t, ann, 200, "DELETE", "/api/messages/"+m, nil)
		} else {
			call[any](t, bot, 200, "POST", "/api/channels/"+ops+"/leave", nil)
			call[any](t, bot, 200, "POST", "/api/channels/"+ops+"/join", nil)
		}
		if q := bot.queue(t); len(q.Pending) != 0 {
			t.Errorf("%s: got %+v, want nothing", end, q.Pending)
		}
	}
}

// A dead wake that the list does not show cannot be retried, and stays: in a channel that the user has left, and in
// an archived one. After a return it is listed, but nothing of it is owed, so a retry takes it off the list.
func TestRetryFindsWhatTheListShows(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bot := n.user("ann"), n.user("bot")
	bot.claim(t, body{})
	dead := func(name string) (channel, id string) {
		t.Helper()
		channel = ann.general(t, name, "bot").Channel.ID
		ann.says(t, channel, "hi")
		w := bot.wake(t, body{})
		bot.done(t, "POST", "/api/wakes/"+w.ID+"/ack", body{"outcome": "declined"})
		for _, q := range bot.queue(t).Dead {
			if q.ChannelID == channel {
				return channel, q.ID
			}
		}
		t.Fatal("got no dead wake")
		return "", ""
	}
	ops, left := dead("ops")
	call[any](t, bot, 200, "POST", "/api/channels/"+ops+"/leave", nil)
	bot.refused(t, 404, "wake_not_found", "POST", "/api/wakes/dead/"+left+"/retry", nil)
	old, archived := dead("old")
	call[any](t, ann, 200, "DELETE", "/api/channels/"+old, nil)
	bot.refused(t, 404, "wake_not_found", "POST", "/api/wakes/dead/"+archived+"/retry", nil)
	call[any](t, bot, 200, "POST", "/api/channels/"+ops+"/join", nil)
	if q := bot.queue(t); len(q.Dead) != 1 || q.Dead[0].ID != left {
		t.Fatalf("got the dead wakes %+v, want the one of the channel that has its member again", q.Dead)
	}
	bot.done(t, "POST", "/api/wakes/dead/"+left+"/retry", nil)
	if q := bot.queue(t); len(q.Dead)+len(q.Pending) != 0 {
		t.Errorf("got %+v, want nothing: what was said before the return is not owed", q)
	}
	_, good := dead("new")
	bot.done(t, "POST", "/api/wakes/dead/"+good+"/retry", nil)
	bot.wake(t, body{})
}
