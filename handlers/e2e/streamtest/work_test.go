package streamtest_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/google/uuid"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"
	"fabric-guild/handlers/e2e/nodetest"
)

type workState struct {
	ChannelID, UserID, State, Status string
	MessageIDs                       []string
}

// Each change of a wake's state shows on streams with activity, on every server.
func TestEveryChangeOfWorkIsShown(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	other := nodetest.Start(t, nodetest.Setup{Database: n.Database, State: n.State})
	n.Together(t, other)
	alice, agent := n.User("alice"), n.User("agent")
	channel := alice.General(t, "ops", "agent", "bob").Channel.ID
	agent.Claim(t, nodetest.Body{})
	n.Settle(t)
	other.Settle(t)
	streams := []*nodetest.Stream{}
	for _, at := range []*nodetest.Node{n, other} {
		s, _ := n.User("bob").At(at).Fresh(t, nodetest.Raw, "?activity=true&types=channel.joined")
		streams = append(streams, s)
	}
	message := alice.Post(t, channel, "hi <@agent>").Message.ID

	// want waits until both streams have shown a state of the message. A stream may leave out states in
	// between, and show its latest state again: a server whose read was slow shows what it reads next.
	latest := make([]string, len(streams))
	want := func(what, state, status string) {
		t.Helper()
		for i, s := range streams {
			for {
				line := s.Signal(t, events.WakeState)
				if line == latest[i] {
					continue
				}
				latest[i] = line
				var got workState
				if err := json.Unmarshal([]byte(line), &got); err != nil {
					t.Fatal(err)
				}
				if got.ChannelID != channel || got.UserID != "agent" ||
					!slices.Equal(got.MessageIDs, []string{message}) {
					t.Fatalf("%s: got %+v, want the work of agent on %s", what, got, message)
				}
				if got.State == state && got.Status == status {
					break
				}
			}
		}
	}
	lease := nodetest.Body{"leaseSeconds": 600, "worker": "w", "instance": "one"}
	var w *nodetest.Wake
	claims := func(how string) {
		t.Helper()
		w = agent.Wake(t, maps.Clone(lease))
		want(how, "claimed", "")
	}
	end := func(how string, b nodetest.Body) { agent.Done(t, "POST", "/api/wakes/"+w.ID+"/"+how, b) }
	expire := func() {
		n.Exec(t, `UPDATE wakes SET lease_until = clock_timestamp()`)
	}
	retry := func() {
		t.Helper()
		agent.Done(t, "POST", "/api/wakes/dead/"+agent.Queue(t).Dead[0].ID+"/retry", nil)
		want("a retry", "pending", "")
	}
	claims("a claim")
	nodetest.Call[json.RawMessage](t, agent, http.StatusOK, "POST", "/api/wakes/"+w.ID+"/extend",
		nodetest.Body{"status": "reading", "leaseSeconds": nodetest.LongLease})
	want("a status", "claimed", "reading")
	expire()
	want("the end of a lease", "pending", "")
	nodetest.Call[json.RawMessage](t, agent, http.StatusOK, "POST", "/api/wakes/"+w.ID+"/extend",
		nodetest.Body{"leaseSeconds": nodetest.LongLease})
	want("an extension of a lease that has ended", "claimed", "reading")
	expire()
	want("the end of a lease", "pending", "")
	agent.Reply(t, w, "hm", nodetest.Body{"keepWake": true})
	want("a message that keeps the wake", "claimed", "reading")
	end("nack", nodetest.Body{"delaySeconds": 0})
	want("a nack", "pending", "")
	claims("a claim after a nack")
	agent.Claim(t, nodetest.Body{"worker": "w", "instance": "two", "channelIds": []string{uuid.NewString()}})
	want("a takeover", "pending", "")
	claims("a claim after a takeover")
	if err := n.DB.UnclaimWake(t.Context(), db.WakeRef{User: "agent", ID: uuid.MustParse(w.ID)}); err != nil {
		t.Fatal(err)
	}
	want("a claim whose client has gone", "pending", "")
	claims("a claim after that")
	alice.Done(t, "POST", "/api/channels/"+channel+"/stop", nodetest.Body{"userId": "agent"})
	end("ack", nodetest.Body{})
	want("a stop and an ack", "stopped", "")
	retry()
	claims("a claim after a retry")
	n.Exec(t, `UPDATE wakes SET attempts = 5`)
	end("nack", nodetest.Body{})
	want("the last nack", "dead", "")
	retry()
	claims("a claim after a retry")
	end("ack", nodetest.Body{"outcome": "declined"})
	want("an ack", "declined", "")
	retry()
	n.Exec(t, `UPDATE messages SET created_at = created_at - interval '1 hour'`)
	lease["maxAgeSeconds"] = 60
	if old := agent.Claim(t, lease); old == nil { // never of a mention
		t.Fatal("got no wake, want the mention")
	} else {
		w = old
	}
	want("a claim after a retry", "claimed", "")
	agent.Reply(t, w, "done", nil)
	want("a reply", "done", "")

	message = alice.Post(t, channel, "old").Message.ID
	claims("a claim")
	end("nack", nodetest.Body{"delaySeconds": 0})
	want("a nack", "pending", "")
	n.Exec(t, `UPDATE messages SET created_at = created_at - interval '1 hour'`)
	if w := agent.Claim(t, lease); w != nil {
		t.Errorf("got %+v, want nothing: the message is too old", w)
	}
	want("a claim of a message that is too old", "expired", "")
	retry()
	agent.Done(t, "DELETE", "/api/wakes", nil)
	want("the end of the queue", "unmanaged", "")
}

// A user who does not hear a message does not hear who works on it.
func TestWorkOnMessagesThatWereKeptFromAMember(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice, agent, bob := n.User("alice"), n.User("agent"), n.User("bob")
	triage := alice.Create(t, nodetest.NewChannel{
		GuildID: "g1", Name: "triage", XType: "triage",
		Members: []string{"bob", "agent", "duty"},
	}).Channel.ID
	alice.Wakes(t, triage, "agent", "duty")
	agent.Claim(t, nodetest.Body{})
	n.Settle(t)
	hears, _ := n.User("duty").Fresh(t, nodetest.Raw, "?activity=true&types=channel.joined")
	deaf, _ := bob.Fresh(t, nodetest.Raw, "?activity=true&types=channel.joined")
	alice.Post(t, triage, "hi")
	w := agent.Wake(t, nodetest.Body{})
	agent.Reply(t, w, "done", nil)
	for state := ""; state != "done"; {
		var got workState
		if err := json.Unmarshal([]byte(hears.Signal(t, events.WakeState)), &got); err != nil {
			t.Fatal(err)
		}
		state = got.State
	}
	alice.General(t, "end", "bob")
	for {
		f := deaf.Next(t)
		if f.Event == events.WakeState {
			t.Fatalf("got %v, want nothing of messages that bob does not hear", f)
		}
		if f.Event == "channel.joined" {
			break
		}
	}
}
