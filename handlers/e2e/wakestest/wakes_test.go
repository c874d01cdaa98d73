package wakestest_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/nodetest"
)

func TestWakes(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	ops := ann.General(t, "ops", "bot").Channel.ID
	ann.Says(t, ops, "before the queue")
	n.Settle(t) // the queue begins where the node has read the event log to
	if w := bot.Claim(t, nodetest.Body{}); w != nil {
		t.Fatalf("got %+v for the first claim, want none: the queue begins now", w)
	}
	ann.Says(t, ops, "one <@bot>")
	ann.Says(t, ops, "two <@ann>")
	ann.Says(t, ops, "not for you <@nobody>")
	n.Settle(t) // a claim looks no further than the node has read
	w := bot.Wake(t, nodetest.Body{"leaseSeconds": 300})
	if got := nodetest.Texts(w.Messages); !slices.Equal(got,
		[]string{"one <@bot>", "two <@ann>", "not for you <@nobody>"}) {
		t.Errorf("got the messages %q", got)
	}
	if got := nodetest.Texts(w.Context); !slices.Equal(got, []string{"before the queue"}) ||
		w.Reason != "mention" || w.Attempt != 1 || w.LeaseMS != 300_000 {
		t.Errorf("got %+v, want the one from before as context, and a mention", w)
	}
	if bot.Claim(t, nodetest.Body{}) != nil {
		t.Error("got a second lease of one channel")
	}
	kept := bot.Reply(t, w, "working on it", nodetest.Body{"keepWake": true})
	if kept.Wake == nil || kept.Wake.Newer != 0 || kept.Wake.Stop {
		t.Errorf("got %+v, want the wake extended", kept.Wake)
	}
	done := bot.Reply(t, w, "done", nil)
	if done.Wake != nil {
		t.Errorf("got %+v, want no wake in the final answer", done.Wake)
	}
	again := bot.Reply(t, w, "done", nil)
	if again.Message.ID != done.Message.ID || again.WakeupCount != done.WakeupCount ||
		!slices.Equal(again.Wakeups, done.Wakeups) {
		t.Errorf("got %+v for the same reply again, want %+v", again, done)
	}
	bot.Refused(t, 409, "wake_lost", "POST", "/api/wakes/"+w.ID+"/extend", nodetest.Body{})
	bot.Refused(t, 409, "wake_lost", "POST", "/api/wakes/"+uuid.NewString()+"/ack", nodetest.Body{})
	bot.Refused(t, 404, "wake_not_found", "POST", "/api/wakes/soon/ack", nodetest.Body{})
	bot.Refused(t, 422, "invalid", "POST", "/api/channels/"+ops+"/messages",
		nodetest.Body{"content": "x", "wakeId": "soon"})
	bot.Refused(t, 422, "invalid", "POST", "/api/channels/"+ops+"/messages",
		nodetest.Body{"content": "x", "keepWake": true})
	bot.Refused(t, 422, "invalid", "POST", "/api/channels/"+ops+"/messages",
		nodetest.Body{"content": "/pass", "wakeId": w.ID})
	bot.Refused(t, 400, "malformed", "POST", "/api/wakes/claim", nodetest.Body{"leaseSeconds": 0})
	bot.Refused(t, 400, "malformed", "POST", "/api/wakes/claim", nodetest.Body{"leaseSeconds": 36000})
	bot.Refused(t, 422, "invalid", "POST", "/api/wakes/claim", nodetest.Body{"instance": "i1"})
	bot.Refused(t, 400, "cursor_malformed", "POST", "/api/wakes/claim", nodetest.Body{"since": "x"})
}

// A claim that waits gets what is posted meanwhile, and only one of many does.
func TestParkedClaims(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	ops := ann.General(t, "ops", "bot").Channel.ID
	bot.Claim(t, nodetest.Body{})
	got, wait := bot.ClaimAtOnce(t, 16)
	ann.Says(t, ops, "hello")
	first := <-got
	if first == nil || !slices.Equal(nodetest.Texts(first.Messages), []string{"hello"}) {
		t.Fatalf("got %+v, want the message", first)
	}
	ann.Says(t, ops, "and another")
	bot.Reply(t, first, "hi", nil)
	second := <-got
	if second == nil || !slices.Equal(nodetest.Texts(second.Messages), []string{"and another"}) {
		t.Fatalf("got %+v, want the rest, once the first was answered", second)
	}
	bot.Reply(t, second, "hi", nil)
	ssetest.Eventually(t, "the others have come", func() bool { // later ones would begin a new queue
		return n.Scrape(t).Series["fabric_guild_wake_claims_waiting"] == 14
	})
	bot.Claim(t, nodetest.Body{})            // behind their first looks
	bot.Done(t, "DELETE", "/api/wakes", nil) // which ends the claims that wait
	wait()
	for range 14 {
		if w := <-got; w != nil {
			t.Errorf("got %+v, want nothing for the others", w)
		}
	}
}

// Many workers of two servers' agents answer each message once, while some of them crash.
func TestEachMessageIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	ops := nodetest.Call[nodetest.Created](t, ann, 201, "POST", "/api/channels", nodetest.Body{
		"guildId": "g1", "name": "duty", "xType": "custom", "memberUserIds": []string{"bot"},
		"wakeUserIds": []string{"bot"},
	}).Channel.ID
	bot.Claim(t, nodetest.Body{})
	ctx, stop := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for i := range 4 {
		workers.Go(func() {
			for run := 0; ctx.Err() == nil; run++ {
				a, err := nodetest.Ask[struct {
					Wake *nodetest.Wake `json:"wake"`
				}](bot, 200, "POST", "/api/wakes/claim", nodetest.Body{"waitSeconds": 1, "leaseSeconds": 600})
				if err != nil || a.Wake == nil {
					continue
				}
				if (run+i)%3 == 0 { // it crashes, and its successor gives the wake back
					_, _ = bot.Do("POST", "/api/wakes/"+a.Wake.ID+"/nack", nodetest.Body{"delaySeconds": 0})
					continue
				}
				_, _ = bot.Do("POST", "/api/channels/"+ops+"/messages",
					nodetest.Body{
						"content": "re: " + strings.Join(nodetest.Texts(a.Wake.Messages), ","),
						"wakeId":  a.Wake.ID,
					})
			}
		})
	}
	const posts = 60
	for i := range posts {
		ann.Says(t, ops, fmt.Sprint(i))
	}
	answered := func() (all []string) {
		for _, m := range nodetest.Call[nodetest.List[nodetest.Decided]](t, ann, 200, "GET",
			"/api/channels/"+ops+"/messages?limit=200", nil).Items {
			if text, ok := strings.CutPrefix(m.Content, "re: "); ok {
				all = append(all, strings.Split(text, ",")...)
			}
		}
		return all
	}
	if !ssetest.Await(func() bool { return len(answered()) >= posts }) {
		t.Errorf("got %d answers, want %d", len(answered()), posts)
	}
	stop()
	workers.Wait()
	all := answered()
	slices.Sort(all)
	if len(slices.Compact(all)) != posts || len(all) != posts {
		t.Errorf("got the answers %q, want each message answered once", all)
	}
}

// When a lease ends, a claim that waits gets the wake, also if the claim that knew of the lease has gone.
func TestLeaseEndsWhileClaimsWait(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	ops := ann.General(t, "ops", "bot").Channel.ID
	bot.Claim(t, nodetest.Body{})
	ann.Says(t, ops, "hello")
	bot.Wake(t, nodetest.Body{"leaseSeconds": 5})
	first := make(chan struct{})
	go func() {
		defer close(first)
		_, _ = bot.Do("POST", "/api/wakes/claim", nodetest.Body{"waitSeconds": 1})
	}()
	again := bot.Wake(t, nodetest.Body{"waitSeconds": 60})
	<-first
	if again.Attempt != 2 || again.Messages[0].Content != "hello" {
		t.Errorf("got %+v, want the second attempt", again)
	}
}

// What an extension says: what was deleted, and what is new since the claim. An hour after the claim there is
// none, and no message that keeps the wake, but a reply still counts.
func TestExtensions(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	ops := ann.General(t, "ops", "bot").Channel.ID
	bot.Claim(t, nodetest.Body{})
	before := ann.Says(t, ops, "deleted before the claim").Message.ID
	gone := ann.Says(t, ops, "deleted after it").Message.ID
	ann.Says(t, ops, "stays")
	ann.Says(t, ops, "not handed out")
	n.Settle(t)
	bot.Queue(t) // scans
	ann.Deletes(t, before)
	w := bot.Wake(t, nodetest.Body{"limit": 2})
	ann.Deletes(t, gone)
	ann.Says(t, ops, "new")
	ann.Says(t, ops, "new, but for <@ann>")
	ann.Deletes(t, ann.Says(t, ops, "new, and deleted").Message.ID)
	extend := "/api/wakes/" + w.ID + "/extend"
	want := func(what string, got nodetest.KeptWake) {
		t.Helper()
		if !slices.Equal(got.Gone, []string{gone}) || got.Newer != 2 || got.Stop {
			t.Errorf("%s: got %+v, want %s gone, and two newer messages", what, got, gone)
		}
	}
	long := nodetest.Body{"leaseSeconds": nodetest.LongLease}
	want("an extension", nodetest.Call[nodetest.KeptWake](t, bot, 200, "POST", extend, long))
	keep := nodetest.Body{"keepWake": true}
	want("a post that keeps the wake", *bot.Reply(t, w, "at it", keep).Wake)
	n.Exec(t, `UPDATE wakes SET claimed_at = claimed_at - interval '1 hour'`)
	bot.WantRefused(t, 409, "lease_limit", "POST", extend, long)
	bot.WantRefused(t, 409, "lease_limit", "POST", nodetest.PathOf(ops),
		nodetest.Body{"content": "still at it", "wakeId": w.ID, "keepWake": true})
	bot.Reply(t, w, "done", nil)

	w = bot.Wake(t, nodetest.Body{})
	stops := func(why string) {
		t.Helper()
		got := nodetest.Call[nodetest.KeptWake](t, bot, 200, "POST", "/api/wakes/"+w.ID+"/extend", long)
		if !got.Stop {
			t.Errorf("%s: got %+v, want stop", why, got)
		}
	}
	bot.Leave(t, ops)
	stops("of a user who has left")
	bot.Join(t, ops)
	ann.Says(t, ops, "archived soon")
	bot.Done(t, "POST", "/api/wakes/"+w.ID+"/ack", nodetest.Body{})
	w = bot.Wake(t, nodetest.Body{})
	nodetest.Call[any](t, ann, 200, "DELETE", "/api/channels/"+ops, nil)
	stops("in an archived channel")
}

// A claim waits until the server has read the event log up to where the new queue must begin.
func TestAQueueThatBeginsAheadOfTheServer(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	ops := ann.General(t, "ops", "bot").Channel.ID
	var since string
	n.HeldBack(t, func() {
		since = ann.Says(t, ops, "before the queue").Cursor
		ann.Says(t, ops, "work")
		if w := bot.Claim(t, nodetest.Body{"since": since}); w != nil {
			t.Errorf("got %+v, want nothing yet", w)
		}
		if got := n.Count(t, `SELECT count(*) FROM wake_consumers`); got != 0 {
			t.Errorf("got %d queues, want none yet", got)
		}
	})
	w := bot.Wake(t, nodetest.Body{"since": since})
	if got := nodetest.Texts(w.Messages); !slices.Equal(got, []string{"work"}) {
		t.Errorf("got the messages %q, want what came after since", got)
	}
}
