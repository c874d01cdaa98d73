package wakestest_test

import (
	"testing"

	"github.com/google/uuid"

	"fabric-guild/handlers/e2e/nodetest"
)

// A token for other guilds sees nothing of a wake, on any route.
func TestWakesOfOtherGuilds(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	far := n.User("bot", "g2")
	ops := ann.General(t, "ops", "bot").Channel.ID
	bot.Claim(t, nodetest.Body{})
	ann.Says(t, ops, "one")
	n.Settle(t)
	if got := far.Claim(t, nodetest.Body{}); got != nil {
		t.Errorf("with a pending wake: got %+v, want nothing", got)
	}
	w := bot.Wake(t, nodetest.Body{"limit": 1})
	ann.Says(t, ops, "two")
	if got := far.Claim(t, nodetest.Body{}); got != nil {
		t.Errorf("with a claimed wake: got %+v, want nothing", got)
	}
	lists := func(where string) {
		t.Helper()
		if q := far.Queue(t); len(q.Pending)+len(q.Claimed)+len(q.Dead) > 0 {
			t.Errorf("%s: got %+v, want nothing", where, q)
		}
	}
	lists("with a claimed wake")
	for _, end := range []string{"extend", "ack", "nack"} {
		far.Refused(t, 409, "wake_lost", "POST", "/api/wakes/"+w.ID+"/"+end, nodetest.Body{})
	}
	far.Refused(t, 409, "wake_lost", "POST", "/api/channels/"+ops+"/messages",
		nodetest.Body{"content": "re", "wakeId": w.ID})
	far.WantRefused(t, 409, "wake_lost", "POST", "/api/channels/"+ops+"/messages",
		nodetest.Body{"content": "re", "wakeId": w.ID}, "Idempotency-Key", "k")
	far.Refused(t, 404, "channel_not_found", "POST", "/api/channels/"+ops+"/stop",
		nodetest.Body{"userId": "bot"})
	bot.Reply(t, w, "done", nil)
	far.Refused(t, 409, "wake_lost", "POST", "/api/channels/"+ops+"/messages",
		nodetest.Body{"content": "re", "wakeId": w.ID})

	w = bot.Wake(t, nodetest.Body{})
	bot.Done(t, "POST", "/api/wakes/"+w.ID+"/ack", nodetest.Body{"outcome": "declined", "note": "no"})
	lists("with a dead wake")
	dead := bot.Queue(t).Dead[0].ID
	far.Refused(t, 404, "wake_not_found", "POST", "/api/wakes/dead/"+dead+"/retry", nil)
	far.Refused(t, 404, "wake_not_found", "DELETE", "/api/wakes/dead/"+dead, nil)
	far.Refused(t, 403, "guild_forbidden", "DELETE", "/api/wakes", nil)
	bot.Refused(t, 404, "wake_not_found", "DELETE", "/api/wakes/dead/"+uuid.NewString(), nil)
	bot.Done(t, "DELETE", "/api/wakes/dead/"+dead, nil)
	if q := bot.Queue(t); len(q.Dead) > 0 {
		t.Errorf("got %+v, want no dead wake after it was hidden", q.Dead)
	}
}

// What a claim and a reply accept: since counts only where the queue begins, worker needs no instance, and a
// wake belongs to its channel.
func TestFieldsOfClaimsAndReplies(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	ops := ann.General(t, "ops", "bot").Channel.ID
	other := ann.General(t, "other", "bot").Channel.ID
	bot.Refused(t, 422, "invalid", "POST", "/api/wakes/claim", nodetest.Body{"since": "1.1"})
	bot.Claim(t, nodetest.Body{"worker": "w"})
	bot.Claim(t, nodetest.Body{"since": "1.1"}) // ignored: the queue is there
	bot.Refused(t, 400, "cursor_malformed", "POST", "/api/wakes/claim", nodetest.Body{"since": "x"})
	ann.Says(t, ops, "one")
	w := bot.Wake(t, nodetest.Body{"worker": "w"})
	bot.Refused(t, 422, "invalid", "POST", "/api/channels/"+other+"/messages",
		nodetest.Body{"content": "re", "wakeId": w.ID})
	bot.Refused(t, 422, "invalid", "POST", "/api/channels/"+ops+"/messages",
		nodetest.Body{"content": "/stop <@bot>", "wakeId": w.ID})
	if q := bot.Queue(t); len(q.Claimed) != 1 {
		t.Errorf("got %+v, want the wake still claimed", q)
	}
	for _, status := range []string{"reading", ""} {
		nodetest.Call[any](t, bot, 200, "POST", "/api/wakes/"+w.ID+"/extend",
			nodetest.Body{"status": status, "leaseSeconds": nodetest.LongLease})
		got := bot.Queue(t).Claimed[0].Status
		if status == "" && got != nil || status != "" && (got == nil || *got != status) {
			t.Errorf("status %q: got %v", status, got)
		}
	}
	bot.Reply(t, w, "re", nil)
}

// The list shows no work of which nothing is owed any more, also before a claim finds that out.
func TestListOfWakesHasOnlyWhatIsOwed(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	bot.Claim(t, nodetest.Body{})
	for _, end := range []string{"delete", "leave and join"} {
		ops := ann.General(t, "ops", "bot").Channel.ID
		m := ann.Says(t, ops, "one").Message.ID
		n.Settle(t)
		if q := bot.Queue(t); len(q.Pending) != 1 {
			t.Fatalf("%s: got %+v, want one pending wake", end, q)
		}
		if end == "delete" {
			nodetest.Call[any](t, ann, 200, "DELETE", "/api/messages/"+m, nil)
		} else {
			nodetest.Call[any](t, bot, 200, "POST", "/api/channels/"+ops+"/leave", nil)
			nodetest.Call[any](t, bot, 200, "POST", "/api/channels/"+ops+"/join", nil)
		}
		if q := bot.Queue(t); len(q.Pending) != 0 {
			t.Errorf("%s: got %+v, want nothing", end, q.Pending)
		}
	}
}

// A dead wake that the list does not show cannot be retried, and stays: in a channel that the user has left,
// and in an archived one. After a return it is listed, but nothing of it is owed, so a retry takes it off the
// list.
func TestRetryFindsWhatTheListShows(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	bot.Claim(t, nodetest.Body{})
	dead := func(name string) (channel, id string) {
		t.Helper()
		channel = ann.General(t, name, "bot").Channel.ID
		ann.Says(t, channel, "hi")
		w := bot.Wake(t, nodetest.Body{})
		bot.Done(t, "POST", "/api/wakes/"+w.ID+"/ack", nodetest.Body{"outcome": "declined"})
		for _, q := range bot.Queue(t).Dead {
			if q.ChannelID == channel {
				return channel, q.ID
			}
		}
		t.Fatal("got no dead wake")
		return "", ""
	}
	ops, left := dead("ops")
	nodetest.Call[any](t, bot, 200, "POST", "/api/channels/"+ops+"/leave", nil)
	bot.Refused(t, 404, "wake_not_found", "POST", "/api/wakes/dead/"+left+"/retry", nil)
	old, archived := dead("old")
	nodetest.Call[any](t, ann, 200, "DELETE", "/api/channels/"+old, nil)
	bot.Refused(t, 404, "wake_not_found", "POST", "/api/wakes/dead/"+archived+"/retry", nil)
	nodetest.Call[any](t, bot, 200, "POST", "/api/channels/"+ops+"/join", nil)
	if q := bot.Queue(t); len(q.Dead) != 1 || q.Dead[0].ID != left {
		t.Fatalf("got the dead wakes %+v, want the one of the channel that has its member again", q.Dead)
	}
	bot.Done(t, "POST", "/api/wakes/dead/"+left+"/retry", nil)
	if q := bot.Queue(t); len(q.Dead)+len(q.Pending) != 0 {
		t.Errorf("got %+v, want nothing: what was said before the return is not owed", q)
	}
	_, good := dead("new")
	bot.Done(t, "POST", "/api/wakes/dead/"+good+"/retry", nil)
	bot.Wake(t, nodetest.Body{})
}
