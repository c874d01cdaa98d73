package handlers_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
)

type decided = FullMessage

type wake struct {
	ID         string    `json:"id"`
	GuildID    string    `json:"guildId"`
	ChannelID  string    `json:"channelId"`
	Name       string    `json:"name"`
	XType      string    `json:"xType"`
	Reason     string    `json:"reason"`
	Attempt    int       `json:"attempt"`
	LeaseUntil string    `json:"leaseUntil"`
	LeaseMS    int       `json:"leaseMs"`
	More       bool      `json:"more"`
	Last       *string   `json:"last"`
	Messages   []decided `json:"messages"`
	Context    []decided `json:"context"`
}

func texts(all []decided) (out []string) {
	for _, m := range all {
		out = append(out, m.Content)
	}
	return out
}

// claim asks for a wake; nil: there is none.
func (u *user) claim(t testing.TB, b body) *wake {
	t.Helper()
	return call[struct {
		Wake *wake `json:"wake"`
	}](t, u, 200, "POST", "/api/wakes/claim", b).Wake
}

// wake claims a wake that there must be. It waits, because a post is answered before this server has read it.
func (u *user) wake(t testing.TB, b body) *wake {
	t.Helper()
	if b["waitSeconds"] == nil {
		b["waitSeconds"] = 60
	}
	w := u.claim(t, b)
	if w == nil {
		t.Fatal("got no wake, want one")
	}
	return w
}

type keptWake struct {
	LeaseUntil string   `json:"leaseUntil"`
	LeaseMS    int      `json:"leaseMs"`
	Newer      int      `json:"newer"`
	Gone       []string `json:"gone"`
	Stop       bool     `json:"stop"`
}

type replied struct {
	posted
	Wake *keptWake `json:"wake"`
}

func (u *user) reply(t testing.TB, w *wake, text string, more body) replied {
	t.Helper()
	b := body{"content": text, "wakeId": w.ID}
	maps.Copy(b, more)
	return call[replied](t, u, 201, "POST", "/api/channels/"+w.ChannelID+"/messages", b)
}

func TestWakes(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bot := n.user("ann"), n.user("bot")
	ops := ann.general(t, "ops", "bot").Channel.ID
	ann.says(t, ops, "before the queue")
	n.settle(t) // the queue begins where the node has read the event log to
	if w := bot.claim(t, body{}); w != nil {
		t.Fatalf("got %+v for the first claim, want none: the queue begins now", w)
	}
	ann.says(t, ops, "one <@bot>")
	ann.says(t, ops, "two <@ann>")
	ann.says(t, ops, "not for you <@nobody>")
	w := bot.wake(t, body{"leaseSeconds": 30})
	if got := texts(w.Messages); !slices.Equal(got, []string{"one <@bot>", "two <@ann>", "not for you <@nobody>"}) {
		t.Errorf("got the messages %q", got)
	}
	if got := texts(w.Context); !slices.Equal(got, []string{"before the queue"}) || w.Reason != "mention" || w.Attempt != 1 || w.LeaseMS != 30000 {
		t.Errorf("got %+v, want the one from before as context, and a mention", w)
	}
	if bot.claim(t, body{}) != nil {
		t.Error("got a second lease of one channel")
	}
	kept := bot.reply(t, w, "working on it", body{"keepWake": true})
	if kept.Wake == nil || kept.Wake.Newer != 0 || kept.Wake.Stop {
		t.Errorf("got %+v, want the wake extended", kept.Wake)
	}
	done := bot.reply(t, w, "done", nil)
	if done.Wake != nil {
		t.Errorf("got %+v, want no wake in the final answer", done.Wake)
	}
	again := bot.reply(t, w, "done", nil)
	if again.Message.ID != done.Message.ID || again.WakeupCount != done.WakeupCount || !slices.Equal(again.Wakeups, done.Wakeups) {
		t.Errorf("got %+v for the same reply again, want %+v", again, done)
	}
	bot.refused(t, 409, "wake_lost", "POST", "/api/wakes/"+w.ID+"/extend", body{})
	bot.refused(t, 409, "wake_lost", "POST", "/api/wakes/"+uuid.NewString()+"/ack", body{})
	bot.refused(t, 404, "wake_not_found", "POST", "/api/wakes/soon/ack", body{})
	bot.refused(t, 422, "invalid", "POST", "/api/channels/"+ops+"/messages", body{"content": "x", "wakeId": "soon"})
	bot.refused(t, 422, "invalid", "POST", "/api/channels/"+ops+"/messages", body{"content": "x", "keepWake": true})
	bot.refused(t, 422, "invalid", "POST", "/api/channels/"+ops+"/messages", body{"content": "/pass", "wakeId": w.ID})
	bot.refused(t, 400, "malformed", "POST", "/api/wakes/claim", body{"leaseSeconds": 0})
	bot.refused(t, 400, "malformed", "POST", "/api/wakes/claim", body{"leaseSeconds": 36000})
	bot.refused(t, 422, "invalid", "POST", "/api/wakes/claim", body{"instance": "i1"})
	bot.refused(t, 400, "cursor_malformed", "POST", "/api/wakes/claim", body{"since": "x"})
}

// A claim that waits gets what is posted meanwhile, and only one of many does.
func TestParkedClaims(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bot := n.user("ann"), n.user("bot")
	ops := ann.general(t, "ops", "bot").Channel.ID
	bot.claim(t, body{})
	got := make(chan *wake, 16)
	var parked sync.WaitGroup
	for range 16 {
		parked.Go(func() {
			a, err := ask[struct {
				Wake *wake `json:"wake"`
			}](bot, 200, "POST", "/api/wakes/claim", body{"waitSeconds": 9})
			if err != nil {
				t.Error(err)
			}
			got <- a.Wake
		})
	}
	ann.says(t, ops, "hello")
	first := <-got
	if first == nil || !slices.Equal(texts(first.Messages), []string{"hello"}) {
		t.Fatalf("got %+v, want the message", first)
	}
	ann.says(t, ops, "and another")
	bot.reply(t, first, "hi", nil)
	second := <-got
	if second == nil || !slices.Equal(texts(second.Messages), []string{"and another"}) {
		t.Fatalf("got %+v, want the rest, once the first was answered", second)
	}
	bot.reply(t, second, "hi", nil)
	parked.Wait()
	for range 14 {
		if w := <-got; w != nil {
			t.Errorf("got %+v, want nothing for the others", w)
		}
	}
}

// Many workers of two servers' agents answer each message once, while some of them crash.
func TestEachMessageIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bot := n.user("ann"), n.user("bot")
	ops := call[created](t, ann, 201, "POST", "/api/channels", body{
		"guildId": "g1", "name": "duty", "xType": "custom", "memberUserIds": []string{"bot"}, "wakeUserIds": []string{"bot"},
	}).Channel.ID
	bot.claim(t, body{})
	ctx, stop := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for i := range 4 {
		workers.Go(func() {
			for run := 0; ctx.Err() == nil; run++ {
				a, err := ask[struct {
					Wake *wake `json:"wake"`
				}](bot, 200, "POST", "/api/wakes/claim", body{"waitSeconds": 1, "leaseSeconds": 5})
				if err != nil || a.Wake == nil {
					continue
				}
				if (run+i)%3 == 0 { // it crashes, and its successor gives the wake back
					_, _ = bot.do("POST", "/api/wakes/"+a.Wake.ID+"/nack", body{"delaySeconds": 0})
					continue
				}
				_, _ = bot.do("POST", "/api/channels/"+ops+"/messages", body{"content": "re: " + strings.Join(texts(a.Wake.Messages), ","), "wakeId": a.Wake.ID})
			}
		})
	}
	const posts = 60
	for i := range posts {
		ann.says(t, ops, fmt.Sprint(i))
	}
	answered := func() (all []string) {
		for _, m := range call[list[decided]](t, ann, 200, "GET", "/api/channels/"+ops+"/messages?limit=200", nil).Items {
			if text, ok := strings.CutPrefix(m.Content, "re: "); ok {
				all = append(all, strings.Split(text, ",")...)
			}
		}
		return all
	}
	if !eventually(func() bool { return len(answered()) >= posts }) {
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

// A lease that ends hands its wake to whoever waits, also if the claim that knew of the lease has gone.
func TestLeaseEndsWhileClaimsWait(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bot := n.user("ann"), n.user("bot")
	ops := ann.general(t, "ops", "bot").Channel.ID
	bot.claim(t, body{})
	ann.says(t, ops, "hello")
	bot.wake(t, body{"leaseSeconds": 5})
	first := make(chan struct{})
	go func() {
		defer close(first)
		_, _ = bot.do("POST", "/api/wakes/claim", body{"waitSeconds": 1})
	}()
	again := bot.wake(t, body{"waitSeconds": 60})
	<-first
	if again.Attempt != 2 || again.Messages[0].Content != "hello" {
		t.Errorf("got %+v, want the second attempt", again)
	}
}
