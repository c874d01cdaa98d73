package handlers_test

import (
	"strings"
	"testing"

	"fabric-guild/handlers/center/centertest"

	"github.com/google/go-cmp/cmp"
)

// said posts, and returns what was stored and who was mentioned, as all that show it agree.
func (u *user) said(t *testing.T, channel, content string) (stored string, mentioned []string) {
	t.Helper()
	p := u.says(t, channel, content)
	page := call[list[FullMessage]](t, u, 200, "GET", "/api/channels/"+channel+"/messages?limit=1", nil)
	if diff := cmp.Diff([]FullMessage{p.Message}, page.Items); diff != "" {
		t.Errorf("%q in history (-posted +read):\n%s", content, diff)
	}
	return p.Message.Content, p.Message.MentionUserIDs
}

func TestMentionsByName(t *testing.T) {
	t.Parallel()
	fake := centertest.New(t)
	fake.SetNames(map[string]string{"Bob Smith": "bob", "Çelik 🙂": "cyd", "Stranger": "str", "bad": "no id"})
	withCenter, alone := start(t, setup{center: fake}), start(t, setup{})
	for _, tt := range []struct {
		n                     *node
		name, content, stored string
		mentioned             []string
	}{
		{withCenter, "resolved", "<@user.name:Bob Smith>!", "<@bob>!", []string{"bob"}},
		{withCenter, "two, one of them twice", "<@user.name:Çelik 🙂><@user.name:Bob Smith><@bob>", "<@cyd><@bob><@bob>", []string{"cyd", "bob"}},
		{withCenter, "unresolved", "<@user.name:Nobody> <@user.id:bob>", "<@user.name:Nobody> <@bob>", []string{"bob"}},
		{withCenter, "of no member", "<@user.name:Stranger>", "<@str>", []string{}},
		{withCenter, "to what is no id", "<@user.name:bad>", "<@user.name:bad>", []string{}},
		{withCenter, "an id is no name", "<@user.name:bob>", "<@user.name:bob>", []string{}},
		{alone, "standalone", "<@user.name:bob>", "<@bob>", []string{"bob"}},
		{alone, "standalone, no id", "<@user.name:Bob Smith>", "<@user.name:Bob Smith>", []string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ann := tt.n.user("ann")
			id := ann.general(t, "ops", "bob", "cyd").Channel.ID
			bob, _ := tt.n.user("bob").fresh(t, raw, "")
			stored, mentioned := ann.said(t, id, tt.content)
			if stored != tt.stored || !cmp.Equal(mentioned, tt.mentioned) {
				t.Errorf("got %q for %q, want %q for %q", stored, mentioned, tt.stored, tt.mentioned)
			}
			if got := data[fullHeard](t, bob.next(t), "message.created"); got.Content != tt.stored {
				t.Errorf("on the stream: got %q, want %q", got.Content, tt.stored)
			}
			m := ann.says(t, id, "plain").Message.ID
			if got := ann.edits(t, m, tt.content).Message.Content; got != tt.stored {
				t.Errorf("an edit: got %q, want %q", got, tt.stored)
			}
		})
	}
}

// A message does not wait for its names for ever, and is posted as it was written. Tests of the client of Center, whose
// clock stands still, show that it waits for two seconds.
func TestNamesWhileCenterDoesNotAnswer(t *testing.T) {
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
			n := start(t, setup{center: fake})
			ann := n.user("ann")
			id := ann.general(t, "ops", "bob").Channel.ID // its token is known from here on
			trouble(fake)
			if stored, mentioned := ann.said(t, id, "<@user.name:Bob>"); stored != "<@user.name:Bob>" || len(mentioned) != 0 {
				t.Errorf("got %q for %q, want it as it was written", stored, mentioned)
			}
			ann.wantRefused(t, 422, "command_invalid", "POST", "/api/channels/"+id+"/messages", body{"content": "/turn <@user.name:Bob>"})
		})
	}
}

// A command that was carried out is answered again as it was, whether or not its name can be resolved now.
func TestAReplayNeedsNoNames(t *testing.T) {
	t.Parallel()
	fake := centertest.New(t)
	fake.SetNames(map[string]string{"Bob": "bob"})
	n := start(t, setup{center: fake})
	ann := n.user("ann")
	id := ann.makes(t, "work", []string{"bob"}, nil).Channel.ID
	path := "/api/channels/" + id + "/messages"
	for _, content := range []string{"<@user.name:Bob>", "/turn <@user.name:Bob>"} {
		fake.Mend()
		first, err := ann.do("POST", path, body{"content": content}, "Idempotency-Key", content)
		if err != nil || first.status/100 != 2 {
			t.Fatalf("%s: got %v and error %v, want it done", content, first, err)
		}
		fake.Break(centertest.Status(500), centertest.ResolveNames)
		if again, err := ann.do("POST", path, body{"content": content}, "Idempotency-Key", content); err != nil || again.String() != first.String() {
			t.Errorf("%s: got %v and error %v, want a replay of %v", content, again, err, first)
		}
	}
}

func TestSlashCommands(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	ann := n.user("ann")
	id := ann.general(t, "ops", "bob").Channel.ID
	path := "/api/channels/" + id + "/messages"
	for content, want := range map[string]string{
		"//pass": "/pass", "///x": "//x", "//": "/", "/": "/", "/ pass": "/ pass", " /pass": " /pass", "/1": "/1",
		"/me waves at <@bob>": "/me waves at <@bob>", "//me too": "/me too", "//<@user.name:bob>": "/<@bob>",
	} {
		if stored, _ := ann.said(t, id, content); stored != want {
			t.Errorf("%q: got %q, want %q", content, stored, want)
		}
	}
	before := n.count(t, `SELECT count(*) FROM events`)
	if got := ann.says(t, id, "/me waves"); got.WakeupCount != 1 {
		t.Errorf("got %+v, want a message like any other", got)
	}
	for _, content := range []string{"/nope", "/PASS", "/passx", "/mé", "/me", "/me ", "/turn", "/turn a b", "/pass bob", "/help me"} {
		p := ann.wantRefused(t, 422, "command_invalid", "POST", path, body{"content": content})
		unknown := strings.HasPrefix(content, "/nope") || content == "/PASS" || content == "/passx" || content == "/mé"
		for _, name := range []string{"/pass", "/turn @USER", "/pause", "/resume", "/me TEXT", "/help"} {
			if unknown && !strings.Contains(p.Errors[0].Detail, name) {
				t.Errorf("%q: got %q, want %s among what there is", content, p.Errors[0].Detail, name)
			}
		}
	}
	help := call[commandDone](t, ann, 200, "POST", path, body{"content": "/help"})
	for _, name := range []string{"/pass", "/turn", "/pause", "/resume", "/me", "/help"} {
		if !strings.Contains(help.Help, name) {
			t.Errorf("got help %q, want %s in it", help.Help, name)
		}
	}
	for _, content := range []string{"/help", "/pass", "/turn bob", "/me waves", "//x"} {
		n.user("str").wantRefused(t, 403, "not_member", "POST", path, body{"content": content})
	}
	if got := n.count(t, `SELECT count(*) FROM events`); got != before+1 {
		t.Errorf("got %d events, want %d", got, before+1)
	}
}
