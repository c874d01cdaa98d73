package handlers_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

func pathOf(channel string) string { return "/api/channels/" + channel + "/messages" }

// patient sends a request until the second has passed in which a user may send one post with ifLast.
func (u *user) patient(t *testing.T, path string, b body, headers ...string) (a answer) {
	t.Helper()
	if !eventually(func() bool {
		var err error
		a, err = u.do("POST", path, b, headers...)
		return err != nil || a.status != 429
	}) {
		t.Errorf("got %v for minutes", a)
	}
	return a
}

// wantMoved checks that an answer refuses a post, and shows the newer messages.
func wantMoved(t *testing.T, what string, a answer, newer ...string) {
	t.Helper()
	if got := texts(wantProblem(t, a, 409, "conversation_moved").Messages); !slices.Equal(got, newer) {
		t.Errorf("%s: got the newer messages %q, want %q", what, got, newer)
	}
}

// Of those who post at once after the same message, one is stored, whether members take turns or not.
func TestOneOfManyFreshPostsIsStored(t *testing.T) {
	t.Parallel()
	const writers = 16
	n := start(t, setup{})
	other := start(t, setup{database: n.database, state: n.state})
	ann := n.user("ann")
	var members []string
	for i := range writers {
		members = append(members, fmt.Sprint("w", i))
	}
	for _, xType := range []string{"general", "discuss", "work"} {
		for _, keyed := range []bool{false, true} {
			id := ann.makes(t, xType, members, nil).Channel.ID
			last := ann.says(t, id, "who?").Message.ID
			before := n.count(t, `SELECT count(*) FROM messages`)
			answers := make([]answer, writers)
			var posting sync.WaitGroup
			for i, name := range members {
				var headers []string
				if keyed {
					headers = []string{"Idempotency-Key", name}
				}
				posting.Go(func() {
					u := n.user(name).at([]*node{n, other}[i%2])
					var err error
					answers[i], err = u.do("POST", pathOf(id), body{"content": "I", "ifLast": last}, headers...)
					if err != nil {
						t.Error(err)
					}
				})
			}
			posting.Wait()
			stored := 0
			for _, a := range answers {
				if a.status == 201 {
					stored++
				} else {
					wantMoved(t, xType, a, "I")
				}
			}
			if got := n.count(t, `SELECT count(*) FROM messages`) - before; stored != 1 || got != 1 {
				t.Errorf("%s, with keys %v: got %d answers and %d messages, want one stored",
					xType, keyed, stored, got)
			}
		}
	}
}

// A reply that is refused because the conversation has moved leaves its wake as it was.
func TestAWakeStaysIfTheConversationHasMoved(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bot := n.user("ann"), n.user("bot")
	for _, xType := range []string{"general", "discuss"} {
		for key, headers := range map[string][]string{"no key": nil, "a key": {"Idempotency-Key", "k"}} {
			bot.claim(t, body{})
			id := ann.makes(t, xType, []string{"bot"}, nil).Channel.ID
			one := ann.says(t, id, "one").Message.ID
			w := bot.wake(t, body{"channelIds": []string{id}})
			two := ann.says(t, id, "two").Message.ID
			for _, keep := range []bool{false, true} {
				b := body{"content": "answer", "wakeId": w.ID, "keepWake": keep, "ifLast": one}
				wantMoved(t, xType+", "+key, bot.patient(t, pathOf(id), b, headers...), "two")
			}
			call[keptWake](t, bot, 200, "POST", "/api/wakes/"+w.ID+"/extend", body{})
			a := bot.patient(t, pathOf(id), body{"content": "answer", "wakeId": w.ID, "ifLast": two}, headers...)
			if a.status != 201 {
				t.Errorf("%s, %s: got %v, want the reply stored", xType, key, a)
			}
			bot.wantRefused(t, 409, "wake_lost", "POST", "/api/wakes/"+w.ID+"/extend", body{})
			if got := n.count(t, `SELECT count(*) FROM messages WHERE wake_id = $1`, w.ID); got != 1 {
				t.Errorf("%s, %s: got %d replies, want 1", xType, key, got)
			}
			next := texts(bot.wake(t, body{"channelIds": []string{id}}).Messages)
			if !slices.Equal(next, []string{"two"}) {
				t.Errorf("%s, %s: got the next messages %q, want what came during the work", xType, key, next)
			}
		}
	}
}

// A stored answer is given again, however far the conversation has moved. A refusal is not stored.
func TestAFreshPostWithAKey(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bob := n.user("ann"), n.user("bob")
	for _, xType := range []string{"general", "work"} {
		id := ann.makes(t, xType, []string{"bob"}, nil).Channel.ID
		last := ann.says(t, id, "one").Message.ID
		b := body{"content": "first", "ifLast": last}
		stored := bob.patient(t, pathOf(id), b, "Idempotency-Key", "k")
		newest := ann.says(t, id, "two").Message.ID
		again := bob.patient(t, pathOf(id), b, "Idempotency-Key", "k")
		replayed := again.header.Get("Idempotency-Replayed") == "true"
		if stored.status != 201 || again.String() != stored.String() || !replayed {
			t.Errorf("%s: got %v, then %v, want the same answer", xType, stored, again)
		}
		b = body{"content": "second", "ifLast": last}
		wantMoved(t, xType, bob.patient(t, pathOf(id), b, "Idempotency-Key", "k2"), "two", "first")
		b["ifLast"] = newest
		if a := bob.patient(t, pathOf(id), b, "Idempotency-Key", "k2"); a.status != 201 {
			t.Errorf("%s: got %v with the key of a refused request, want 201", xType, a)
		}
	}
}

// What was posted while a reader was away counts only if the reader may read it.
func TestFreshnessAfterALeave(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann, bob := n.user("ann"), n.user("bob")
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
		c := newChannel{GuildID: "g1", Name: "c", XType: "general", History: tt.history, Members: []string{"bob"}}
		id := ann.create(t, c).Channel.ID
		say := func(text string) {
			if text != "" {
				ann.says(t, id, text)
			}
		}
		last := ann.says(t, id, "read").Message.ID
		say(tt.before)
		bob.leave(t, id)
		say(tt.during)
		ann.wantRefused(t, 422, "invalid", "POST", pathOf(id), body{"content": "x", "ifLast": bob.id})
		bob.join(t, id)
		say(tt.after)
		a, err := bob.do("POST", pathOf(id), body{"content": "mine", "ifLast": last})
		if err != nil {
			t.Fatal(err)
		}
		if tt.newer != nil {
			wantMoved(t, tt.name, a, tt.newer...)
		} else if a.status != 201 {
			t.Errorf("%s: got %v, want 201", tt.name, a)
		}
	}
	// A message that bob may not read is not one that he has read.
	id := ann.general(t, "later", "bob").Channel.ID
	bob.leave(t, id)
	hidden := ann.says(t, id, "hidden").Message.ID
	bob.join(t, id)
	bob.wantRefused(t, 422, "invalid", "POST", pathOf(id), body{"content": "x", "ifLast": hidden})
	deleted := ann.says(t, id, "deleted").Message.ID
	ann.deletes(t, deleted)
	if a := bob.patient(t, pathOf(id), body{"content": "x", "ifLast": deleted}); a.status != 201 {
		t.Errorf("after a deleted message: got %v, want 201", a)
	}
}

// A request that a client sent to an older version, and sends to this one again, is the same request.
func TestOldBodiesKeepTheirHashes(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann := n.user("ann")
	id := ann.general(t, "ops").Channel.ID
	first := ann.says(t, id, "first").Message.ID
	for i, tt := range []struct {
		path   string
		body   body
		hashed string
	}{
		{pathOf(id), body{"content": "hi"}, `{"content":"hi","replyTo":null}`},
		{pathOf(id), body{"content": "hi", "replyTo": first}, `{"content":"hi","replyTo":"` + first + `"}`},
		{
			"/api/channels",
			body{"guildId": "g1", "name": "c", "xType": "general"},
			`{"guildId":"g1","name":"c","xType":"general","memberUserIds":null,"wakeUserIds":null,"private":false,"history":null}`,
		},
	} {
		key := fmt.Sprint("k", i)
		ann.twice(t, tt.path, key, tt.body)
		hash := sha256.Sum256([]byte(tt.hashed))
		const same = `SELECT count(*) FROM idempotency_keys WHERE key = $1 AND encode(body_hash, 'hex') = $2`
		if n.count(t, same, key, hex.EncodeToString(hash[:])) != 1 {
			t.Errorf("the hash of %s has changed", strings.TrimSpace(tt.hashed))
		}
	}
}
