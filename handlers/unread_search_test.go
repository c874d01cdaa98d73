package handlers_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

type unreadChannel struct {
	channel
	Unread      *int    `json:"unread"`
	UnreadWakes *int    `json:"unreadWakes"`
	ReadTo      *string `json:"readTo"`
}

// reads marks a channel as read.
func (u *user) reads(t *testing.T, channel, message string) bool {
	t.Helper()
	return call[struct{ Changed bool }](t, u, 200, "PUT", "/api/channels/"+channel+"/read", body{"messageId": message}).Changed
}

// badge returns what a list and the snapshot say of a channel. Both must agree.
func (u *user) badge(t *testing.T, channel string) (unread, waking int, readTo string) {
	t.Helper()
	list := call[struct {
		Items []unreadChannel
		Next  *string
	}](t, u, 200, "GET", "/api/channels?unread=true", nil).Items
	snapshot := call[struct {
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
	n := start(t, setup{})
	other := start(t, setup{database: n.database, state: n.state})
	n.together(t, other)
	alice, bob := n.user("alice"), n.user("bob")
	channel := alice.general(t, "ops", "bob").Channel.ID
	first := alice.post(t, channel, "one <@bob>").Message.ID
	second := alice.post(t, channel, "two <@alice>").Message.ID
	bob.post(t, channel, "mine")
	third := alice.post(t, channel, "three <@nobody>").Message.ID
	want := func(unread, waking int, readTo string) {
		t.Helper()
		if u, w, r := bob.badge(t, channel); u != unread || w != waking || r != readTo {
			t.Errorf("got %d unread, %d waking, read to %q, want %d, %d, %q", u, w, r, unread, waking, readTo)
		}
	}
	want(3, 3, "")
	n.settle(t)
	other.settle(t)
	here, _ := bob.fresh(t, raw, "")
	there, _ := bob.at(other).fresh(t, raw, "?types=channel.read")
	if !bob.reads(t, channel, second) || bob.reads(t, channel, first) || bob.reads(t, channel, second) {
		t.Error("got a marker that does not only move forward")
	}
	for _, s := range []*stream{here, there} {
		if data := s.signal(t, "channel.read"); !strings.Contains(data, second) || !strings.Contains(data, channel) {
			t.Errorf("got %s, want the mark", data)
		}
	}
	want(1, 1, second)
	alice.deletes(t, third)
	want(0, 0, second)
	if !bob.reads(t, channel, third) {
		t.Error("got a deleted message that is no place, want it to be one")
	}
	want(0, 0, third)
	for i := range 101 {
		alice.post(t, channel, fmt.Sprint(i))
	}
	want(100, 100, third)

	path := "/api/channels/" + channel + "/read"
	elsewhere := alice.post(t, alice.general(t, "elsewhere", "bob").Channel.ID, "x").Message.ID
	late := n.user("late")
	late.join(t, channel)
	for _, tt := range []struct {
		name, message string
		u             *user
	}{{"of another channel", elsewhere, bob}, {"from before the join", first, late}, {"unknown", uuid7, bob}, {"no id", "x", bob}} {
		t.Run(tt.name, func(t *testing.T) {
			tt.u.refused(t, http.StatusBadRequest, "malformed", "PUT", path, body{"messageId": tt.message})
		})
	}
	bob.refused(t, http.StatusBadRequest, "malformed", "PUT", path, body{})
	bob.refused(t, http.StatusBadRequest, "malformed", "GET", "/api/channels?unread=yes", nil)
	n.user("bob", "g2").refused(t, http.StatusNotFound, "channel_not_found", "PUT", path, body{"messageId": first})
	bob.leave(t, channel)
	bob.refused(t, http.StatusForbidden, "not_member", "PUT", path, body{"messageId": first})
}

type found struct {
	Items []struct {
		Channel channel
		Message FullMessage
		Snippet []struct {
			Text string
			Hit  bool
		}
	}
	Next      *string
	IndexedTo string
}

// finds searches until everything was looked at.
func (u *user) finds(t *testing.T, query url.Values) (contents []string, pages int) {
	t.Helper()
	for {
		f := call[found](t, u, 200, "GET", "/api/search?"+query.Encode(), nil)
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

// index fills the search index up to now.
func (n *node) index(t *testing.T) {
	t.Helper()
	n.settle(t)
	if err := n.db.IndexWords(t.Context(), n.router.Position()); err != nil {
		t.Fatal(err)
	}
}

// A search finds what its caller may read, newest first, with parameters that narrow it down.
func TestSearch(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice, bob, zoe := n.user("alice"), n.user("bob"), n.user("zoe")
	ops := alice.general(t, "ops", "bob").Channel.ID
	whole := alice.create(t, newChannel{GuildID: "g2", Name: "all", XType: "general", History: "all"}).Channel.ID
	one := alice.says(t, ops, "disk one full").Message.ID
	bob.says(t, ops, "Disk two")
	alice.says(t, whole, "disk three")
	bob.leave(t, ops)
	alice.says(t, ops, "disk four, when bob was away")
	bob.join(t, ops)
	bob.join(t, whole)
	gone := alice.says(t, ops, "disk five").Message.ID
	alice.deletes(t, gone)
	six := alice.says(t, ops, "tape six").Message.ID
	alice.edits(t, six, "disk six")
	n.index(t)
	q := func(pairs ...string) url.Values {
		v := url.Values{"q": {"disk"}}
		for i := 0; i < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return v
	}
	for _, tt := range []struct {
		name  string
		u     *user
		query url.Values
		want  []string
	}{
		{"a member", alice, q(), []string{"disk six", "disk four, when bob was away", "disk three", "Disk two", "disk one full"}},
		{"page by page", alice, q("limit", "1"), []string{"disk six", "disk four, when bob was away", "disk three", "Disk two", "disk one full"}},
		{"one who was away", bob, q(), []string{"disk six", "disk three", "Disk two", "disk one full"}},
		{"a stranger", zoe, q(), nil},
		{"a token for a guild", n.user("alice", "g2"), q(), []string{"disk three"}},
		{"of a guild", alice, q("guildId", "g2"), []string{"disk three"}},
		{"of a channel", alice, q("channelId", whole), []string{"disk three"}},
		{"by an author", alice, q("author", "bob"), []string{"Disk two"}},
		{"older than a message", alice, q("before", six, "channelId", ops, "author", "alice"), []string{"disk four, when bob was away", "disk one full"}},
		{"words", alice, q("q", `disk -six -three "one full"`), []string{"disk one full"}},
		{"a text from before an edit", alice, q("q", "tape"), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, _ := tt.u.finds(t, tt.query); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	alice.edits(t, one, "<script>alert(1)</script> \ue000spoofed\ue001 disk & one")
	f := call[found](t, alice, 200, "GET", "/api/search?q=disk+one", nil)
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
	n := start(t, setup{})
	alice := n.user("alice")
	alice.says(t, alice.general(t, "ops").Channel.ID, "hi")
	n.index(t)
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
		{"an unknown channel", "q=a&channelId=" + uuid7, 404, "channel_not_found"},
		{"a limit of 51", "q=a&limit=51", 400, "malformed"},
		{"before nothing", "q=a&before=x", 400, "malformed"},
		{"before 0", "q=a&before=0", 400, "malformed"},
		{"before a message that is not there", "q=a&before=" + uuid7, 400, "malformed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			alice.refused(t, tt.status, tt.code, "GET", "/api/search?"+tt.query, nil)
		})
	}
	if a, err := alice.do("GET", "/api/search?q="+strings.Repeat("x", 64<<10), nil); err != nil || a.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %v and error %v for 64 KiB, want 431", a, err)
	}
	for _, query := range []string{
		`"unbalanced`, `a " b " c "`, `a or`, `or or or`, `-`, `-a`, `--a`, `a & b | !c`, `a:* <-> b`, `'; DROP TABLE messages --`, `\`, `a\'b`,
		strings.Repeat("a ", 499), strings.Repeat("x", 1000), strings.Repeat("🦀 ", 100) + "a", strings.Repeat(`"a" or `, 100) + "b", "\ue000a\ue001", "\u202ea",
	} {
		a, err := alice.do("GET", "/api/search?q="+url.QueryEscape(query), nil)
		if err != nil || a.status != 200 && a.status != 422 {
			t.Errorf("%q: got %v and error %v, want an answer or 422", query, a, err)
		}
	}
}

// Quotes, dashes, brackets, tags and emoji around a word are no part of it, whatever the locale of the database.
func TestSearchFindsWordsInPunctuation(t *testing.T) {
	t.Parallel()
	n := start(t, setup{})
	alice := n.user("alice")
	ops := alice.general(t, "ops").Channel.ID
	texts := []string{"<lamp> one", "<b>lamp</b>", "“lamp” and ‘cable’", "«lamp»", "off—lamp—on", "lamp…", "✅lamp🦊", "a\u00a0lamp", "(lamp)"}
	for _, text := range texts {
		alice.says(t, ops, text)
	}
	slices.Reverse(texts)
	n.index(t)
	for _, query := range []string{"lamp", "“lamp”", "<lamp>"} {
		f := call[found](t, alice, 200, "GET", "/api/search?"+url.Values{"q": {query}}.Encode(), nil)
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
	alice.refused(t, 422, "invalid", "GET", "/api/search?"+url.Values{"q": {"“—” ✅"}}.Encode(), nil)
}
