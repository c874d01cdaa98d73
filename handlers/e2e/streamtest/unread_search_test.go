package streamtest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/nodetest"
)

type unreadChannel struct {
	nodetest.Channel
	Unread      *int    `json:"unread"`
	UnreadWakes *int    `json:"unreadWakes"`
	ReadTo      *string `json:"readTo"`
}

// reads marks a channel as read.
func reads(t *testing.T, u *nodetest.User, channel, message string) bool {
	t.Helper()
	return nodetest.Call[struct{ Changed bool }](t, u, 200, "PUT", "/api/channels/"+channel+"/read",
		nodetest.Body{"messageId": message}).Changed
}

// badge returns what a list and the snapshot say of a channel. Both must agree.
func badge(t *testing.T, u *nodetest.User, channel string) (unread, waking int, readTo string) {
	t.Helper()
	list := nodetest.Call[struct {
		Items []unreadChannel
		Next  *string
	}](t, u, 200, "GET", "/api/channels?unread=true", nil).Items
	snapshot := nodetest.Call[struct {
		Cursor, UserID string
		Channels       []unreadChannel
	}](t, u, 200, "GET", "/api/sync?unread=true", nil).Channels
	text := func(all []unreadChannel) string {
		for _, c := range all {
			if c.ID == channel {
				unread, waking, readTo = *c.Unread, *c.UnreadWakes, ""
				if c.ReadTo != nil {
					readTo = *c.ReadTo
				}
			}
		}
		return fmt.Sprint(unread, waking, readTo)
	}
	if a, b := text(list), text(snapshot); a != b {
		t.Errorf("got %s in the list and %s in the snapshot", a, b)
	}
	return unread, waking, readTo
}

// A marker only moves forward, and the user's other streams hear of it, on every server.
func TestUnread(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	other := nodetest.Start(t, nodetest.Setup{Database: n.Database, State: n.State})
	n.Together(t, other)
	alice, bob := n.User("alice"), n.User("bob")
	channel := alice.General(t, "ops", "bob").Channel.ID
	first := alice.Post(t, channel, "one <@bob>").Message.ID
	second := alice.Post(t, channel, "two <@alice>").Message.ID
	bob.Post(t, channel, "mine")
	third := alice.Post(t, channel, "three <@nobody>").Message.ID
	want := func(unread, waking int, readTo string) {
		t.Helper()
		if u, w, r := badge(t, bob, channel); u != unread || w != waking || r != readTo {
			t.Errorf("got %d unread, %d waking, read to %q, want %d, %d, %q", u, w, r, unread, waking, readTo)
		}
	}
	want(3, 3, "")
	n.Settle(t)
	other.Settle(t)
	here, _ := bob.Fresh(t, nodetest.Raw, "")
	there, _ := bob.At(other).Fresh(t, nodetest.Raw, "?types=channel.read")
	if !reads(t, bob, channel, second) || reads(t, bob, channel, first) || reads(t, bob, channel, second) {
		t.Error("got a marker that does not only move forward")
	}
	for _, s := range []*nodetest.Stream{here, there} {
		if data := s.Signal(t, "channel.read"); !strings.Contains(data, second) ||
			!strings.Contains(data, channel) {
			t.Errorf("got %s, want the mark", data)
		}
	}
	want(1, 1, second)
	alice.Deletes(t, third)
	want(0, 0, second)
	if !reads(t, bob, channel, third) {
		t.Error("got a deleted message that is no place, want it to be one")
	}
	want(0, 0, third)
	for i := range 101 {
		alice.Post(t, channel, fmt.Sprint(i))
	}
	want(100, 100, third)

	path := "/api/channels/" + channel + "/read"
	elsewhere := alice.Post(t, alice.General(t, "elsewhere", "bob").Channel.ID, "x").Message.ID
	late := n.User("late")
	late.Join(t, channel)
	for _, tt := range []struct {
		name, message string
		u             *nodetest.User
	}{
		{"of another channel", elsewhere, bob},
		{"from before the join", first, late},
		{"unknown", nodetest.UUID7, bob},
		{"no id", "x", bob},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.u.Refused(t, http.StatusBadRequest, "malformed", "PUT", path,
				nodetest.Body{"messageId": tt.message})
		})
	}
	bob.Refused(t, http.StatusBadRequest, "malformed", "PUT", path, nodetest.Body{})
	bob.Refused(t, http.StatusBadRequest, "malformed", "GET", "/api/channels?unread=yes", nil)
	n.User("bob", "g2").Refused(t, http.StatusNotFound, "channel_not_found", "PUT", path,
		nodetest.Body{"messageId": first})
	bob.Leave(t, channel)
	bob.Refused(t, http.StatusForbidden, "not_member", "PUT", path, nodetest.Body{"messageId": first})
}

type found struct {
	Items []struct {
		Channel nodetest.Channel
		Message nodetest.FullMessage
		Snippet []struct {
			Text string
			Hit  bool
		}
	}
	Next      *string
	IndexedTo string
}

// finds searches until everything was looked at.
func finds(t *testing.T, u *nodetest.User, query url.Values) (contents []string, pages int) {
	t.Helper()
	for {
		f := nodetest.Call[found](t, u, 200, "GET", "/api/search?"+query.Encode(), nil)
		pages++
		for _, x := range f.Items {
			contents = append(contents, x.Message.Content)
		}
		if f.Next == nil {
			return contents, pages
		}
		query.Set("before", *f.Next)
	}
}

// index fills the search index up to now. The node fills it too: while it does, a call does nothing.
func index(t *testing.T, n *nodetest.Node) {
	t.Helper()
	n.Settle(t)
	if !ssetest.Await(func() bool {
		others, err := n.DB.IndexWords(t.Context(), n.Router.Position())
		if err != nil {
			t.Fatal(err)
		}
		return !others
	}) {
		t.Fatal("the search index is always filled by another")
	}
}

// A search finds what its caller may read, newest first, with parameters that narrow it down.
func TestSearch(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice, bob, zoe := n.User("alice"), n.User("bob"), n.User("zoe")
	ops := alice.General(t, "ops", "bob").Channel.ID
	whole := alice.Create(t, nodetest.NewChannel{
		GuildID: "g2", Name: "all", XType: "general",
		History: "all",
	}).Channel.ID
	one := alice.Says(t, ops, "disk one full").Message.ID
	bob.Says(t, ops, "Disk two")
	alice.Says(t, whole, "disk three")
	bob.Leave(t, ops)
	alice.Says(t, ops, "disk four, when bob was away")
	bob.Join(t, ops)
	bob.Join(t, whole)
	gone := alice.Says(t, ops, "disk five").Message.ID
	alice.Deletes(t, gone)
	six := alice.Says(t, ops, "tape six").Message.ID
	alice.Edits(t, six, "disk six")
	index(t, n)
	q := func(pairs ...string) url.Values {
		v := url.Values{"q": {"disk"}}
		for i := 0; i < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return v
	}
	for _, tt := range []struct {
		name  string
		u     *nodetest.User
		query url.Values
		want  []string
	}{
		{"a member", alice, q(), []string{
			"disk six", "disk four, when bob was away", "disk three",
			"Disk two", "disk one full",
		}},
		{
			"page by page", alice, q("limit", "1"),
			[]string{"disk six", "disk four, when bob was away", "disk three", "Disk two", "disk one full"},
		},
		{"one who was away", bob, q(), []string{"disk six", "disk three", "Disk two", "disk one full"}},
		{"a stranger", zoe, q(), nil},
		{"a token for a guild", n.User("alice", "g2"), q(), []string{"disk three"}},
		{"of a guild", alice, q("guildId", "g2"), []string{"disk three"}},
		{"of a channel", alice, q("channelId", whole), []string{"disk three"}},
		{"by an author", alice, q("author", "bob"), []string{"Disk two"}},
		{
			"older than a message", alice, q("before", six, "channelId", ops, "author", "alice"),
			[]string{"disk four, when bob was away", "disk one full"},
		},
		{"words", alice, q("q", `disk -six -three "one full"`), []string{"disk one full"}},
		{"a text from before an edit", alice, q("q", "tape"), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, _ := finds(t, tt.u, tt.query); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	alice.Edits(t, one, "<script>alert(1)</script> \ue000spoofed\ue001 disk & one")
	f := nodetest.Call[found](t, alice, 200, "GET", "/api/search?q=disk+one", nil)
	if len(f.Items) != 1 || f.Items[0].Channel.ID != ops || f.IndexedTo == "" {
		t.Fatalf("got %+v, want the edited message at once", f)
	}
	var all, hits strings.Builder
	for _, p := range f.Items[0].Snippet {
		all.WriteString(p.Text)
		if p.Hit {
			hits.WriteString(p.Text + " ")
		}
	}
	if all.String() != "<script>alert(1)</script> spoofed disk & one" || hits.String() != "disk one " {
		t.Errorf("got the snippet %q with %q marked", all.String(), hits.String())
	}
}

func TestBadSearches(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice := n.User("alice")
	alice.Says(t, alice.General(t, "ops").Channel.ID, "hi")
	index(t, n)
	for _, tt := range []struct {
		name, query string
		status      int
		code        string
	}{
		{"no query", "", 422, "invalid"},
		{"blank", "q=+", 422, "invalid"},
		{"only punctuation", "q=" + url.QueryEscape(`!!! & | ( ) "" : * \ ' --`), 422, "invalid"},
		{"1,001 bytes", "q=" + strings.Repeat("x", 1001), 400, "malformed"},
		{"NUL", "q=a%00b", 400, "malformed"},
		{"invalid UTF-8", "q=%ff", 400, "malformed"},
		{"an unknown parameter", "q=a&x=1", 400, "malformed"},
		{"no guild", "q=a&guildId=%2f", 400, "malformed"},
		{"no author", "q=a&author=%20", 400, "malformed"},
		{"no channel", "q=a&channelId=x", 400, "malformed"},
		{"an unknown channel", "q=a&channelId=" + nodetest.UUID7, 404, "channel_not_found"},
		{"a limit of 51", "q=a&limit=51", 400, "malformed"},
		{"before nothing", "q=a&before=x", 400, "malformed"},
		{"before 0", "q=a&before=0", 400, "malformed"},
		{"before a message that is not there", "q=a&before=" + nodetest.UUID7, 400, "malformed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			alice.Refused(t, tt.status, tt.code, "GET", "/api/search?"+tt.query, nil)
		})
	}
	if a, err := alice.Do("GET", "/api/search?q="+strings.Repeat("x", 64<<10), nil); err != nil ||
		a.Status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %v and error %v for 64 KiB, want 431", a, err)
	}
	for _, query := range []string{
		`"unbalanced`, `a " b " c "`, `a or`, `or or or`, `-`, `-a`, `--a`, `a & b | !c`, `a:* <-> b`,
		`'; DROP TABLE messages --`, `\`, `a\'b`,
		strings.Repeat("a ", 499), strings.Repeat("x", 1000), strings.Repeat("🦀 ", 100) + "a",
		strings.Repeat(`"a" or `, 100) + "b", "\ue000a\ue001", "\u202ea",
	} {
		a, err := alice.Do("GET", "/api/search?q="+url.QueryEscape(query), nil)
		if err != nil || a.Status != 200 && a.Status != 422 {
			t.Errorf("%q: got %v and error %v, want an answer or 422", query, a, err)
		}
	}
}

// Quotes, dashes, brackets, tags and emoji around a word are no part of it, whatever the locale of the
// database.
func TestSearchFindsWordsInPunctuation(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice := n.User("alice")
	ops := alice.General(t, "ops").Channel.ID
	texts := []string{
		"<lamp> one", "<b>lamp</b>", "“lamp” and ‘cable’", "«lamp»", "off—lamp—on", "lamp…",
		"✅lamp🦊", "a\u00a0lamp", "(lamp)",
	}
	for _, text := range texts {
		alice.Says(t, ops, text)
	}
	slices.Reverse(texts)
	index(t, n)
	for _, query := range []string{"lamp", "“lamp”", "<lamp>"} {
		f := nodetest.Call[found](t, alice, 200, "GET", "/api/search?"+url.Values{"q": {query}}.Encode(), nil)
		var got []string
		for _, item := range f.Items {
			var all, hits string
			for _, p := range item.Snippet {
				all += p.Text
				if p.Hit {
					hits += p.Text
				}
			}
			if got = append(got, all); hits != "lamp" {
				t.Errorf("q=%s: got %q marked in %q, want lamp", query, hits, all)
			}
		}
		if !slices.Equal(got, texts) {
			t.Errorf("q=%s: got %q, want %q", query, got, texts)
		}
	}
	alice.Refused(t, 422, "invalid", "GET", "/api/search?"+url.Values{"q": {"“—” ✅"}}.Encode(), nil)
}
