package streamtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/nodetest"
)

// Clients that only poll, from either of two nodes, with random limits and waits, some of whose requests
// break, see what a stream shows, event for event, while others post, edit, delete, rename, come and go.
func TestPollsShowWhatAStreamShows(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	first := nodetest.Start(t, nodetest.Setup{Admin: "alice"})
	nodes := []*nodetest.Node{
		first,
		nodetest.Start(t, nodetest.Setup{Database: first.Database, State: first.State, Admin: "alice"}),
	}
	alice := first.User("alice")
	texts := &versions{of: map[string][]string{}}
	var channels []string
	var from string
	for i, xType := range []string{"general", "triage", "discuss", "report", "general", "triage"} {
		c := first.User("writer0").Create(t, nodetest.NewChannel{
			GuildID: fmt.Sprint("g", i%2), Name: fmt.Sprint("room ", i), XType: xType,
			Members: []string{"writer1", "writer2", "writer3"},
		})
		texts.add(c.Channel.ID, fmt.Sprint("room ", i))
		if i < 3 {
			alice.Join(t, c.Channel.ID)
		}
		channels, from = append(channels, c.Channel.ID), c.Cursor
	}
	live, _ := alice.Fresh(t, nodetest.Raw, "") // from here on, unfiltered

	done := make(chan struct{})
	var writing, polling sync.WaitGroup
	for w := range 4 {
		writing.Go(func() { writeAbout(t, nodes[w%2].User(fmt.Sprint("writer", w)), channels, texts) })
	}
	writing.Go(func() { comeAndGoAtRandom(t, alice, channels) })

	queries := []string{
		"", "wakeup=true", "echo=true", "types=message.created,channel.joined",
		"channels=" + channels[0] + "," + channels[3],
		"types=message.updated,message.deleted", "types=member.joined,channel.left,channel.updated",
		"wakeup=true&channels=" + channels[1],
	}
	polled := make([][]nodetest.PollItem, len(queries))
	for i, query := range queries {
		polling.Go(func() { polled[i] = pollAtRandom(t, nodes, alice, from, query, done) })
	}
	writing.Wait()
	last := alice.General(t, "the end")
	texts.add(last.Channel.ID, "the end")
	end := last.Cursor
	close(done)
	polling.Wait()
	if t.Failed() {
		return
	}
	for i, query := range queries {
		nodes[i%2].Settle(t)
		want := replayed(t, alice.At(nodes[i%2]), query, from)
		if diff := cmp.Diff(settled(t, want, texts), settled(t, polled[i], texts)); diff != "" {
			t.Errorf("%q: (-a stream +polls):\n%s", query, diff)
		}
		t.Logf("%q: %d events", query, len(polled[i]))
		if len(polled[i]) < 10 {
			t.Errorf("%q: got %d events, too few to tell anything", query, len(polled[i]))
		}
	}
	var heard []string
	for _, f := range live.Until(t, end) {
		heard = append(heard, f.Event+" "+f.ID)
	}
	got := nodetest.PollData{Items: polled[0]}.Shown()
	if diff := cmp.Diff(heard, got[max(0, len(got)-len(heard)):]); diff != "" {
		t.Errorf("(-a live stream +polls):\n%s", diff)
	}
}

// versions are the texts that each message has had, and the names of each channel.
type versions struct {
	mu sync.Mutex
	of map[string][]string
}

func (v *versions) add(id, text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.of[id] = append(v.of[id], text)
}

func (v *versions) has(id, text string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Contains(v.of[id], text)
}

// writeAbout posts, edits, deletes and renames for a while.
func writeAbout(t *testing.T, u *nodetest.User, channels []string, texts *versions) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var mine []string
	for i := range 150 {
		<-tick.C
		channel := channels[rand.IntN(len(channels))]
		var err error
		switch k := rand.IntN(10); {
		case k == 0 && len(mine) > 0:
			message, text := mine[rand.IntN(len(mine))], fmt.Sprint(u.ID, " edits ", i)
			texts.add(message, text) // before it is: it may be seen before the answer is
			if a, e := u.Do("PATCH", "/api/messages/"+message, nodetest.Body{"content": text}); e != nil ||
				a.Status != 200 && a.Status != 409 {
				err = fmt.Errorf("got %v, %w", a, e)
			}
		case k == 1 && len(mine) > 0:
			_, err = u.Do("DELETE", "/api/messages/"+mine[rand.IntN(len(mine))], nil)
		case k == 2 && u.ID == "writer0":
			name := fmt.Sprint("room ", i)
			texts.add(channel, name)
			_, err = nodetest.Ask[nodetest.Created](u, 200, "PATCH", "/api/channels/"+channel,
				nodetest.Body{"name": name})
		default:
			var p nodetest.FullPost
			content := []string{"", "<@alice> ", "<@writer1> "}[rand.IntN(3)] + fmt.Sprint(u.ID, " says ", i)
			p, err = nodetest.Ask[nodetest.FullPost](u, 201, "POST", "/api/channels/"+channel+"/messages",
				nodetest.Body{"content": content})
			texts.add(p.Message.ID, content)
			mine = append(mine, p.Message.ID)
		}
		if err != nil {
			t.Error(err)
			return
		}
	}
}

func comeAndGoAtRandom(t *testing.T, u *nodetest.User, channels []string) {
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for i := range 50 {
		<-tick.C
		path := "/api/channels/" + channels[rand.IntN(len(channels))]
		if _, err := nodetest.Ask[nodetest.Changed](u, 200, "POST",
			path+[]string{"/join", "/leave", "/join"}[rand.IntN(3)], nil); err != nil {
			t.Error(err)
			return
		}
		if _, err := u.Do("POST", path+"/messages",
			nodetest.Body{"content": fmt.Sprint("I, too ", i)}); err != nil {
			t.Error(err)
			return
		}
	}
}

// pollAtRandom polls from a cursor on, until an answer that was asked for after done has nothing.
func pollAtRandom(
	t *testing.T, nodes []*nodetest.Node, u *nodetest.User, cursor, query string, done <-chan struct{},
) (all []nodetest.PollItem) {
	lines := []*nodetest.Line{nodetest.NewLine(nodetest.Raw, 0), nodetest.NewLine(nodetest.Transports[1], 0)}
	defer lines[0].HangUp()
	defer lines[1].HangUp()
	resets := 0
	for {
		last := isClosed(done)
		n := nodes[rand.IntN(len(nodes))]
		if last {
			n.Settle(t)
		}
		ctx, hangUp := context.WithCancel(t.Context())
		if !last && rand.IntN(5) == 0 {
			time.AfterFunc(time.Duration(rand.IntN(50))*time.Millisecond, hangUp)
		}
		limit := 1 + rand.IntN(1+rand.IntN(200))
		var over http.RoundTripper = lines[rand.IntN(2)]
		p, err := u.At(n).PollOver(ctx, over,
			fmt.Sprintf("%s&after=%s&limit=%d&wait=%d", query, cursor, limit, rand.IntN(2)))
		hangUp()
		// On a machine that stands still for two seconds, Go's HTTP/2 server resets a new connection: it has
		// not read the first frame in time.
		reset := errors.Is(err, syscall.ECONNRESET)
		if reset {
			resets++
		}
		if errors.Is(err, context.Canceled) || reset && resets < 4 {
			continue // nothing is lost: the cursor stands
		}
		if err != nil || p.Reset != nil || len(p.Items) > limit ||
			nodetest.Seq(p.Cursor) < nodetest.Seq(cursor) {
			t.Errorf("%q from %s: got %d items for a limit of %d, cursor %s, reset %v and error %v", query,
				cursor, len(p.Items), limit, p.Cursor, p.Reset, err)
			return all
		}
		if n := len(p.Items); n > 0 && nodetest.Seq(p.Items[n-1].ID) > nodetest.Seq(p.Cursor) {
			t.Errorf("%q: got cursor %s after the event %s", query, p.Cursor, p.Items[n-1].ID)
			return all
		}
		all, cursor = append(all, p.Items...), p.Cursor
		if last && len(p.Items) == 0 {
			return all
		}
	}
}

// replayed is what a stream shows from a cursor up to now.
func replayed(t *testing.T, u *nodetest.User, query, cursor string) (all []nodetest.PollItem) {
	t.Helper()
	s := u.Resume(t, nodetest.Raw, "?"+query, cursor)
	defer s.Close()
	for {
		f := s.Next(t)
		if f.Event == "stream.live" {
			return all
		}
		all = append(all, nodetest.PollItem{ID: f.ID, Event: f.Event, Data: json.RawMessage(f.Data)})
	}
}

// settled is what does not depend on when it was asked for: a message's text is as it was then, one of those
// that it has had, and a deleted one has none. A channel's name is that of when the node read the event.
func settled(t *testing.T, items []nodetest.PollItem, texts *versions) (out []string) {
	t.Helper()
	for _, i := range items {
		var m map[string]any
		if err := json.Unmarshal(i.Data, &m); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(i.Event, "message.") {
			id, _ := m["id"].(string)
			text, shown := m["content"].(string)
			if m["authorUserId"] != "alice" && shown && !texts.has(id, text) {
				t.Errorf("got the text %q of message %s, want one of %q", text, id, texts.of[id])
			}
			for _, name := range []string{"content", "editedAt", "deleted", "redacted"} {
				delete(m, name)
			}
		}
		id, _ := m["channelId"].(string)
		if name, shown := m["name"].(string); shown && !texts.has(id, name) {
			t.Errorf("got the name %q of channel %s, want one of %q", name, id, texts.of[id])
		}
		delete(m, "name")
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, i.ID+" "+i.Event+" "+string(b))
	}
	return out
}
