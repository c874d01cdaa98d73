package handlers_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"testing"

	"fabric-guild/db"
	"fabric-guild/events"

	"github.com/google/uuid"
)

type workState struct {
	ChannelID, UserID, State, Status string
	MessageIDs                       []string
}

// Each change of a wake's state shows on streams with activity, on every server.
func TestEveryChangeOfWorkIsShown(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	other := start(t, setup{database: n.database, state: n.state})
	n.together(t, other)
	alice, agent := n.user("alice"), n.user("agent")
	channel := alice.general(t, "ops", "agent", "bob").Channel.ID
	agent.claim(t, body{})
	n.settle(t)
	other.settle(t)
	streams := []*stream{}
	for _, at := range []*node{n, other} {
		s, _ := n.user("bob").at(at).fresh(t, raw, "?activity=true&types=channel.joined")
		streams = append(streams, s)
	}
	message := alice.post(t, channel, "hi <@agent>").Message.ID

	// want waits until both streams have shown a state of the message. A stream may leave out states in between.
	want := func(what, state, status string) {
		t.Helper()
		for _, s := range streams {
			for {
				var got workState
				if err := json.Unmarshal([]byte(s.signal(t, events.WakeState)), &got); err != nil {
					t.Fatal(err)
				}
				if got.ChannelID != channel || got.UserID != "agent" || !slices.Equal(got.MessageIDs, []string{message}) {
					t.Fatalf("%s: got %+v, want the work of agent on %s", what, got, message)
				}
				if got.State == state && got.Status == status {
					break
				}
			}
		}
	}
	lease := body{"leaseSeconds": 600, "worker": "w", "instance": "one"}
	var w *wake
	claims := func(how string) {
		t.Helper()
		w = agent.wake(t, maps.Clone(lease))
		want(how, "claimed", "")
	}
	end := func(how string, b body) { agent.done(t, "POST", "/api/wakes/"+w.ID+"/"+how, b) }
	expire := func() {
		n.exec(t, `UPDATE wakes SET lease_until = clock_timestamp()`)
	}
	retry := func() {
		t.Helper()
		agent.done(t, "POST", "/api/wakes/dead/"+agent.queue(t).Dead[0].ID+"/retry", nil)
		want("a retry", "pending", "")
	}
	claims("a claim")
	call[json.RawMessage](t, agent, http.StatusOK, "POST", "/api/wakes/"+w.ID+"/extend", body{"status": "reading"})
	want("a status", "claimed", "reading")
	expire()
	want("the end of a lease", "pending", "")
	call[json.RawMessage](t, agent, http.StatusOK, "POST", "/api/wakes/"+w.ID+"/extend", body{})
	want("an extension of a lease that has ended", "claimed", "reading")
	expire()
	want("the end of a lease", "pending", "")
	agent.reply(t, w, "hm", body{"keepWake": true})
	want("a message that keeps the wake", "claimed", "reading")
	end("nack", body{"delaySeconds": 0})
	want("a nack", "pending", "")
	claims("a claim after a nack")
	agent.claim(t, body{"worker": "w", "instance": "two", "channelIds": []string{uuid.NewString()}})
	want("a takeover", "pending", "")
	claims("a claim after a takeover")
	if err := n.db.UnclaimWake(t.Context(), db.WakeRef{User: "agent", ID: uuid.MustParse(w.ID)}); err != nil {
		t.Fatal(err)
	}
	want("a claim whose client has gone", "pending", "")
	claims("a claim after that")
	alice.done(t, "POST", "/api/channels/"+channel+"/stop", body{"userId": "agent"})
	end("ack", body{})
	want("a stop and an ack", "stopped", "")
	retry()
	claims("a claim after a retry")
	n.exec(t, `UPDATE wakes SET attempts = 5`)
	end("nack", body{})
	want("the last nack", "dead", "")
	retry()
	claims("a claim after a retry")
	end("ack", body{"outcome": "declined"})
	want("an ack", "declined", "")
	retry()
	n.exec(t, `UPDATE messages SET created_at = created_at - interval '1 hour'`)
	lease["maxAgeSeconds"] = 60
	if old := agent.claim(t, lease); old == nil { // never of a mention
		t.Fatal("got no wake, want the mention")
	} else {
		w = old
	}
	want("a claim after a retry", "claimed", "")
	agent.reply(t, w, "done", nil)
	want("a reply", "done", "")

	message = alice.post(t, channel, "old").Message.ID
	claims("a claim")
	end("nack", body{"delaySeconds": 0})
	want("a nack", "pending", "")
	n.exec(t, `UPDATE messages SET created_at = created_at - interval '1 hour'`)
	if w := agent.claim(t, lease); w != nil {
		t.Errorf("got %+v, want nothing: the message is too old", w)
	}
	want("a claim of a message that is too old", "expired", "")
	retry()
	agent.done(t, "DELETE", "/api/wakes", nil)
	want("the end of the queue", "unmanaged", "")
}

// Whoever does not hear a message does not hear who works on it.
func TestWorkOnMessagesThatWereKeptFromAMember(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice, agent, bob := n.user("alice"), n.user("agent"), n.user("bob")
	triage := alice.create(t, newChannel{GuildID: "g1", Name: "triage", XType: "triage", Members: []string{"bob", "agent", "duty"}}).Channel.ID
	alice.wakes(t, triage, "agent", "duty")
	agent.claim(t, body{})
	n.settle(t)
	hears, _ := n.user("duty").fresh(t, raw, "?activity=true&types=channel.joined")
	deaf, _ := bob.fresh(t, raw, "?activity=true&types=channel.joined")
	alice.post(t, triage, "hi")
	w := agent.wake(t, body{})
	agent.reply(t, w, "done", nil)
	for state := ""; state != "done"; {
		var got workState
		if err := json.Unmarshal([]byte(hears.signal(t, events.WakeState)), &got); err != nil {
			t.Fatal(err)
		}
		state = got.State
	}
	alice.general(t, "end", "bob")
	for {
		f := deaf.next(t)
		if f.event == events.WakeState {
			t.Fatalf("got %v, want nothing of messages that bob does not hear", f)
		}
		if f.event == "channel.joined" {
			break
		}
	}
}
