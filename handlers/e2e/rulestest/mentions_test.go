package rulestest_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/center/centertest"
	"fabric-guild/handlers/e2e/nodetest"
)

// said posts, and returns what was stored and who was mentioned, as all that show it agree.
func said(t *testing.T, u *nodetest.User, channel, content string) (stored string, mentioned []string) {
	t.Helper()
	p := u.Says(t, channel, content)
	page := nodetest.Call[nodetest.List[nodetest.FullMessage]](t, u, 200, "GET",
		"/api/channels/"+channel+"/messages?limit=1", nil)
	if diff := cmp.Diff([]nodetest.FullMessage{p.Message}, page.Items); diff != "" {
		t.Errorf("%q in history (-posted +read):\n%s", content, diff)
	}
	return p.Message.Content, p.Message.MentionUserIDs
}

func TestMentionsByName(t *testing.T) {
	t.Parallel()
	fake := centertest.New(t)
	fake.SetNames(map[string]string{"Bob Smith": "bob", "Çelik 🙂": "cyd", "Stranger": "str", "bad": "no id"})
	withCenter, alone := nodetest.Start(t, nodetest.Setup{Center: fake}), nodetest.Start(t, nodetest.Setup{})
	for _, tt := range []struct {
		n                     *nodetest.Node
		name, content, stored string
		mentioned             []string
	}{
		{withCenter, "resolved", "<@user.name:Bob Smith>!", "<@bob>!", []string{"bob"}},
		{
			withCenter, "two, one of them twice", "<@user.name:Çelik 🙂><@user.name:Bob Smith><@bob>",
			"<@cyd><@bob><@bob>",
			[]string{"cyd", "bob"},
		},
		{
			withCenter, "unresolved", "<@user.name:Nobody> <@user.id:bob>", "<@user.name:Nobody> <@bob>",
			[]string{"bob"},
		},
		{withCenter, "of no member", "<@user.name:Stranger>", "<@str>", []string{}},
		{withCenter, "to what is no id", "<@user.name:bad>", "<@user.name:bad>", []string{}},
		{withCenter, "an id is no name", "<@user.name:bob>", "<@user.name:bob>", []string{}},
		{alone, "standalone", "<@user.name:bob>", "<@bob>", []string{"bob"}},
		{alone, "standalone, no id", "<@user.name:Bob Smith>", "<@user.name:Bob Smith>", []string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ann := tt.n.User("ann")
			id := ann.General(t, "ops", "bob", "cyd").Channel.ID
			bob, _ := tt.n.User("bob").Fresh(t, nodetest.Raw, "")
			stored, mentioned := said(t, ann, id, tt.content)
			if stored != tt.stored || !cmp.Equal(mentioned, tt.mentioned) {
				t.Errorf("got %q for %q, want %q for %q", stored, mentioned, tt.stored, tt.mentioned)
			}
			if got := nodetest.Data[nodetest.FullHeard](t, bob.Next(t),
				"message.created"); got.Content != tt.stored {
				t.Errorf("on the stream: got %q, want %q", got.Content, tt.stored)
			}
			m := ann.Says(t, id, "plain").Message.ID
			if got := ann.Edits(t, m, tt.content).Message.Content; got != tt.stored {
				t.Errorf("an edit: got %q, want %q", got, tt.stored)
			}
		})
	}
}

// A message waits for its names for a bounded time, and is then posted as it was written. Tests of the client
// of Center, whose clock stands still, show that it waits for two seconds.
func TestNamesWhileCenterDoesNotAnswer(t *testing.T) {
	dbtest.Long(t) // TestResolveNames is fast
	t.Parallel()
	for name, trouble := range map[string]func(*centertest.Server){
		"hangs":   func(c *centertest.Server) { c.Hang(centertest.ResolveNames) },
		"is down": func(c *centertest.Server) { c.Close() },
		"fails":   func(c *centertest.Server) { c.Break(centertest.Status(500), centertest.ResolveNames) },
		"garbage": func(c *centertest.Server) { c.Break(centertest.Answer("[1]"), centertest.ResolveNames) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := centertest.New(t)
			fake.SetNames(map[string]string{"Bob": "bob"})
			n := nodetest.Start(t, nodetest.Setup{Center: fake})
			ann := n.User("ann")
			id := ann.General(t, "ops", "bob").Channel.ID // its token is known from here on
			trouble(fake)
			if stored, mentioned := said(t, ann, id, "<@user.name:Bob>"); stored != "<@user.name:Bob>" ||
				len(mentioned) != 0 {
				t.Errorf("got %q for %q, want it as it was written", stored, mentioned)
			}
			ann.WantRefused(t, 422, "command_invalid", "POST", "/api/channels/"+id+"/messages",
				nodetest.Body{"content": "/turn <@user.name:Bob>"})
		})
	}
}

// A command that was carried out is answered again as it was, whether or not its name can be resolved now.
func TestAReplayNeedsNoNames(t *testing.T) {
	t.Parallel()
	fake := centertest.New(t)
	fake.SetNames(map[string]string{"Bob": "bob"})
	n := nodetest.Start(t, nodetest.Setup{Center: fake})
	ann := n.User("ann")
	id := ann.Makes(t, "work", []string{"bob"}, nil).Channel.ID
	path := "/api/channels/" + id + "/messages"
	for _, content := range []string{"<@user.name:Bob>", "/turn <@user.name:Bob>"} {
		fake.Mend()
		first, err := ann.Do("POST", path, nodetest.Body{"content": content}, "Idempotency-Key", content)
		if err != nil || first.Status/100 != 2 {
			t.Fatalf("%s: got %v and error %v, want it done", content, first, err)
		}
		fake.Break(centertest.Status(500), centertest.ResolveNames)
		if again, err := ann.Do("POST", path, nodetest.Body{"content": content}, "Idempotency-Key",
			content); err != nil || again.String() != first.String() {
			t.Errorf("%s: got %v and error %v, want a replay of %v", content, again, err, first)
		}
	}
}

func TestSlashCommands(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	ann := n.User("ann")
	id := ann.General(t, "ops", "bob").Channel.ID
	path := "/api/channels/" + id + "/messages"
	for content, want := range map[string]string{
		"//pass": "/pass", "///x": "//x", "//": "/", "/": "/", "/ pass": "/ pass", " /pass": " /pass",
		"/1":                  "/1",
		"/me waves at <@bob>": "/me waves at <@bob>", "//me too": "/me too", "//<@user.name:bob>": "/<@bob>",
	} {
		if stored, _ := said(t, ann, id, content); stored != want {
			t.Errorf("%q: got %q, want %q", content, stored, want)
		}
	}
	before := n.Count(t, `SELECT count(*) FROM events`)
	if got := ann.Says(t, id, "/me waves"); got.WakeupCount != 1 {
		t.Errorf("got %+v, want a message like any other", got)
	}
	for _, content := range []string{
		"/nope", "/PASS", "/passx", "/mé", "/me", "/me ", "/turn", "/turn a b",
		"/pass bob", "/help me",
	} {
		p := ann.WantRefused(t, 422, "command_invalid", "POST", path, nodetest.Body{"content": content})
		unknown := strings.HasPrefix(content, "/nope") || content == "/PASS" || content == "/passx" ||
			content == "/mé"
		for _, name := range []string{"/pass", "/turn @USER", "/pause", "/resume", "/me TEXT", "/help"} {
			if unknown && !strings.Contains(p.Errors[0].Detail, name) {
				t.Errorf("%q: got %q, want %s among what there is", content, p.Errors[0].Detail, name)
			}
		}
	}
	help := nodetest.Call[nodetest.CommandDone](t, ann, 200, "POST", path, nodetest.Body{"content": "/help"})
	for _, name := range []string{"/pass", "/turn", "/pause", "/resume", "/me", "/help"} {
		if !strings.Contains(help.Help, name) {
			t.Errorf("got help %q, want %s in it", help.Help, name)
		}
	}
	for _, content := range []string{"/help", "/pass", "/turn bob", "/me waves", "//x"} {
		n.User("str").WantRefused(t, 403, "not_member", "POST", path, nodetest.Body{"content": content})
	}
	if got := n.Count(t, `SELECT count(*) FROM events`); got != before+1 {
		t.Errorf("got %d events, want %d", got, before+1)
	}
}
