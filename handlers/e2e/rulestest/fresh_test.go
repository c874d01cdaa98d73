package rulestest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/nodetest"
)

// patient sends a request until the second has passed in which a user may send one post with ifLast in a
// channel.
func patient(
	t *testing.T, u *nodetest.User, path string, b nodetest.Body, headers ...string,
) (a nodetest.Answer) {
	t.Helper()
	if !ssetest.Await(func() bool {
		var err error
		a, err = u.Do("POST", path, b, headers...)
		return err != nil || a.Status != 429
	}) {
		t.Errorf("got %v for minutes", a)
	}
	return a
}

// wantMoved checks that an answer refuses a post, and shows the newer messages.
func wantMoved(t *testing.T, what string, a nodetest.Answer, newer ...string) {
	t.Helper()
	if got := nodetest.Texts(
		nodetest.WantProblem(t, a, 409, "conversation_moved").Messages,
	); !slices.Equal(got, newer) {
		t.Errorf("%s: got the newer messages %q, want %q", what, got, newer)
	}
}

// Of those who post at once after the same message, one is stored, whether members take turns or not.
func TestOneOfManyFreshPostsIsStored(t *testing.T) {
	dbtest.Long(t) // TestAFreshPostWithAKey is fast
	t.Parallel()
	const writers = 16
	n := nodetest.Start(t, nodetest.Setup{})
	other := nodetest.Start(t, nodetest.Setup{Database: n.Database, State: n.State})
	ann := n.User("ann")
	var members []string
	for i := range writers {
		members = append(members, fmt.Sprint("w", i))
	}
	for _, xType := range []string{"general", "discuss", "work"} {
		for _, keyed := range []bool{false, true} {
			id := ann.Makes(t, xType, members, nil).Channel.ID
			last := ann.Says(t, id, "who?").Message.ID
			before := n.Count(t, `SELECT count(*) FROM messages`)
			answers := make([]nodetest.Answer, writers)
			var posting sync.WaitGroup
			for i, name := range members {
				var headers []string
				if keyed {
					headers = []string{"Idempotency-Key", name}
				}
				posting.Go(func() {
					u := n.User(name).At([]*nodetest.Node{n, other}[i%2])
					var err error
					answers[i], err = u.Do("POST", nodetest.PathOf(id),
						nodetest.Body{"content": "I", "ifLast": last}, headers...)
					if err != nil {
						t.Error(err)
					}
				})
			}
			posting.Wait()
			stored := 0
			for _, a := range answers {
				if a.Status == 201 {
					stored++
				} else {
					wantMoved(t, xType, a, "I")
				}
			}
			if got := n.Count(t, `SELECT count(*) FROM messages`) - before; stored != 1 || got != 1 {
				t.Errorf("%s, with keys %v: got %d answers and %d messages, want one stored",
					xType, keyed, stored, got)
			}
		}
	}
}

// A reply that is refused because the conversation has moved leaves its wake as it was.
func TestAWakeStaysIfTheConversationHasMoved(t *testing.T) {
	dbtest.Long(t) // TestTheFenceInAGroup is fast
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	bot.Claim(t, nodetest.Body{})
	for _, xType := range kinds("general", "discuss") {
		for key, headers := range map[string][]string{"no key": nil, "a key": {"Idempotency-Key", "k"}} {
			t.Run(xType+", "+key, func(t *testing.T) {
				t.Parallel()
				aWakeStays(t, ann, bot, xType, headers)
			})
		}
	}
}

func aWakeStays(t *testing.T, ann, bot *nodetest.User, xType string, headers []string) {
	id := ann.Makes(t, xType, []string{"bot"}, nil).Channel.ID
	one := ann.Says(t, id, "one").Message.ID
	w := bot.Wake(t, nodetest.Body{"channelIds": []string{id}})
	two := ann.Says(t, id, "two").Message.ID
	for _, keep := range []bool{false, true} {
		b := nodetest.Body{"content": "answer", "wakeId": w.ID, "keepWake": keep, "ifLast": one}
		a := patient(t, bot, nodetest.PathOf(id), b, headers...)
		wantMoved(t, fmt.Sprint("keepWake ", keep), a, "two")
	}
	nodetest.Call[nodetest.KeptWake](t, bot, 200, "POST", "/api/wakes/"+w.ID+"/extend",
		nodetest.Body{"leaseSeconds": nodetest.LongLease})
	a := patient(t, bot, nodetest.PathOf(id),
		nodetest.Body{"content": "answer", "wakeId": w.ID, "ifLast": two}, headers...)
	if a.Status != 201 {
		t.Errorf("got %v, want the reply stored", a)
	}
	bot.WantRefused(t, 409, "wake_lost", "POST", "/api/wakes/"+w.ID+"/extend", nodetest.Body{})
	if got := bot.Node.Count(t, `SELECT count(*) FROM messages WHERE wake_id = $1`, w.ID); got != 1 {
		t.Errorf("got %d replies, want 1", got)
	}
	next := nodetest.Texts(bot.Wake(t, nodetest.Body{"channelIds": []string{id}}).Messages)
	if !slices.Equal(next, []string{"two"}) {
		t.Errorf("got the next messages %q, want what came during the work", next)
	}
}

// A repeated reply gets the first answer, however far the conversation has moved since.
func TestARepeatedFreshReply(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bot := n.User("ann"), n.User("bot")
	bot.Claim(t, nodetest.Body{})
	for _, xType := range kinds("general", "discuss") {
		id := ann.Makes(t, xType, []string{"bot"}, nil).Channel.ID
		last := ann.Says(t, id, "one").Message.ID
		w := bot.Wake(t, nodetest.Body{"channelIds": []string{id}})
		b := nodetest.Body{"content": "answer", "wakeId": w.ID, "ifLast": last}
		first := patient(t, bot, nodetest.PathOf(id), b)
		ann.Says(t, id, "two")
		again := patient(t, bot, nodetest.PathOf(id), b)
		if first.Status != 201 || again.String() != first.String() ||
			again.Header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("%s: got %v, then %v, want the same answer", xType, first, again)
		}
		if got := n.Count(t, `SELECT count(*) FROM messages WHERE wake_id = $1`, w.ID); got != 1 {
			t.Errorf("%s: got %d replies, want 1", xType, got)
		}
	}
}

// kinds returns these kinds of channels, or with -short the first: a fresh post to a busy channel waits.
func kinds(xTypes ...string) []string {
	if testing.Short() {
		return xTypes[:1]
	}
	return xTypes
}

// A stored answer is given again, however far the conversation has moved. A refusal is not stored.
func TestAFreshPostWithAKey(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bob := n.User("ann"), n.User("bob")
	for _, xType := range kinds("general", "work") {
		t.Run(xType, func(t *testing.T) {
			t.Parallel()
			id := ann.Makes(t, xType, []string{"bob"}, nil).Channel.ID
			last := ann.Says(t, id, "one").Message.ID
			b := nodetest.Body{"content": "first", "ifLast": last}
			stored := patient(t, bob, nodetest.PathOf(id), b, "Idempotency-Key", "k")
			newest := ann.Says(t, id, "two").Message.ID
			again := patient(t, bob, nodetest.PathOf(id), b, "Idempotency-Key", "k")
			replayed := again.Header.Get("Idempotency-Replayed") == "true"
			if stored.Status != 201 || again.String() != stored.String() || !replayed {
				t.Errorf("got %v, then %v, want the same answer", stored, again)
			}
			b = nodetest.Body{"content": "second", "ifLast": last}
			a := patient(t, bob, nodetest.PathOf(id), b, "Idempotency-Key", "k2")
			wantMoved(t, "the second", a, "two", "first")
			b["ifLast"] = newest
			a = patient(t, bob, nodetest.PathOf(id), b, "Idempotency-Key", "k2")
			if a.Status != 201 {
				t.Errorf("got %v with the key of a refused request, want 201", a)
			}
		})
	}
}

// What was posted while a reader was away counts only if the reader may read it.
func TestFreshnessAfterALeave(t *testing.T) {
	dbtest.Long(t) // TestAFreshPostWithAKey is fast
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann, bob := n.User("ann"), n.User("bob")
	for _, tt := range []struct {
		name, history         string
		before, during, after string // what ann says; "": nothing
		newer                 []string
	}{
		{"nothing was said", "joined", "", "", "", nil},
		{"something before the leave", "joined", "before", "", "", []string{"before"}},
		{"something that bob may not read", "joined", "", "during", "", nil},
		{"something after the return", "joined", "", "during", "after", []string{"after"}},
		{"all of it", "joined", "before", "during", "after", []string{"after", "before"}},
		{"something that bob may read", "all", "", "during", "", []string{"during"}},
	} {
		c := nodetest.NewChannel{
			GuildID: "g1", Name: "c", XType: "general", History: tt.history,
			Members: []string{"bob"},
		}
		id := ann.Create(t, c).Channel.ID
		say := func(text string) {
			if text != "" {
				ann.Says(t, id, text)
			}
		}
		last := ann.Says(t, id, "read").Message.ID
		say(tt.before)
		bob.Leave(t, id)
		say(tt.during)
		ann.WantRefused(t, 422, "invalid", "POST", nodetest.PathOf(id),
			nodetest.Body{"content": "x", "ifLast": bob.ID})
		bob.Join(t, id)
		say(tt.after)
		a, err := bob.Do("POST", nodetest.PathOf(id), nodetest.Body{"content": "mine", "ifLast": last})
		if err != nil {
			t.Fatal(err)
		}
		if tt.newer != nil {
			wantMoved(t, tt.name, a, tt.newer...)
		} else if a.Status != 201 {
			t.Errorf("%s: got %v, want 201", tt.name, a)
		}
	}
	// A message that bob may not read is not one that he has read.
	id := ann.General(t, "later", "bob").Channel.ID
	bob.Leave(t, id)
	hidden := ann.Says(t, id, "hidden").Message.ID
	bob.Join(t, id)
	bob.WantRefused(t, 422, "invalid", "POST", nodetest.PathOf(id),
		nodetest.Body{"content": "x", "ifLast": hidden})
	deleted := ann.Says(t, id, "deleted").Message.ID
	ann.Deletes(t, deleted)
	if a := patient(t, bob, nodetest.PathOf(id),
		nodetest.Body{"content": "x", "ifLast": deleted}); a.Status != 201 {
		t.Errorf("after a deleted message: got %v, want 201", a)
	}
}

// A request that a client sent to an older version, and sends to this one again, is the same request.
func TestOldBodiesKeepTheirHashes(t *testing.T) {
	dbtest.Long(t) // TestARequestWithAKeyIsDoneOnce is fast
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann := n.User("ann")
	id := ann.General(t, "ops").Channel.ID
	first := ann.Says(t, id, "first").Message.ID
	for i, tt := range []struct {
		path   string
		body   nodetest.Body
		hashed string
	}{
		{nodetest.PathOf(id), nodetest.Body{"content": "hi"}, `{"content":"hi","replyTo":null}`},
		{
			nodetest.PathOf(id),
			nodetest.Body{"content": "hi", "replyTo": first},
			`{"content":"hi","replyTo":"` + first + `"}`,
		},
		{
			"/api/channels",
			nodetest.Body{"guildId": "g1", "name": "c", "xType": "general"},
			`{"guildId":"g1","name":"c","xType":"general","memberUserIds":null,"wakeUserIds":null,` +
				`"private":false,"history":null}`,
		},
	} {
		key := fmt.Sprint("k", i)
		ann.Twice(t, tt.path, key, tt.body)
		hash := sha256.Sum256([]byte(tt.hashed))
		const same = `SELECT count(*) FROM idempotency_keys WHERE key = $1 AND encode(body_hash, 'hex') = $2`
		if n.Count(t, same, key, hex.EncodeToString(hash[:])) != 1 {
			t.Errorf("the hash of %s has changed", strings.TrimSpace(tt.hashed))
		}
	}
}
