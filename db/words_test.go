package db_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"
)

// index fills the search index up to the end of the event log, as IndexWords does.
func index(ctx context.Context, d *db.DB) (others bool, err error) {
	head, err := d.Head(ctx)
	if err != nil {
		return false, err
	}
	return d.IndexWords(ctx, head)
}

// A server learns that another one fills the search index, and that it has stopped. Two servers do not both
// leave the work to the other.
func TestOneServerFillsTheSearchIndex(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	first, second := openURL(t, url), openURL(t, url)
	channel, _ := create(t, first, "alice")
	for i, tt := range []struct {
		d    *db.DB
		post bool
		want bool
	}{
		{first, true, false},
		{second, false, false}, // it has not looked before
		{first, true, false},
		{second, false, true},
		{second, false, false},
		{second, true, false},
		{first, true, true},
		{second, true, false},
		{first, true, true},
		{second, true, false},
		{first, false, true},
		{first, false, false},
	} {
		if tt.post {
			post(t, first, channel, "alice", "hello")
		}
		got, err := index(t.Context(), tt.d)
		if err != nil {
			t.Fatal(err)
		}
		if got != tt.want {
			t.Errorf("step %d: got %t, want %t for whether others fill the index", i, got, tt.want)
		}
	}
}

// An edit that is not committed while the index is filled leaves no old text behind, whichever comes first.
func TestAnEditAndTheIndexer(t *testing.T) {
	t.Parallel()
	d := open(t)
	channel, _ := create(t, d, "alice")
	finds := func(word string) int {
		t.Helper()
		hits, _, err := d.Search(t.Context(),
			db.Search{User: "alice", Channels: []db.SearchChannel{{ID: channel}}, Query: word, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		return len(hits)
	}
	p := post(t, d, channel, "alice", "secret")
	indexed := make(chan error, 1)
	err := d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		if err := tx.LockMessage(ctx, p.ID); err != nil {
			return err
		}
		if _, err := tx.EditMessage(ctx, &p.Message, "alice", "harmless", false, ""); err != nil {
			return err
		}
		go func() { // it waits for this transaction
			_, err := index(t.Context(), d)
			indexed <- err
		}()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-indexed; err != nil {
		t.Fatal(err)
	}
	if _, err := index(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if finds("secret") != 0 || finds("harmless") != 1 {
		t.Errorf("got %d hits for the old and %d for the new text, want 0 and 1", finds("secret"),
			finds("harmless"))
	}
	err = d.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, err := tx.EditMessage(ctx, &p.Message, "alice", "", true, "")
		return err
	})
	if err != nil || finds("harmless") != 0 {
		t.Errorf("got %d hits and error %v for a deleted message, want none", finds("harmless"), err)
	}
	if finds("-other") != 0 {
		t.Error("got a deleted message by a word that it does not have")
	}
}

// Where retention has removed the events, the index is filled by channel.
func TestTheIndexFillsBehindRetention(t *testing.T) {
	t.Parallel()
	d := open(t)
	channel, _ := create(t, d, "alice")
	for i := range 30 {
		post(t, d, channel, "alice", fmt.Sprintf("word%d", i%3))
	}
	if removed, _, err := d.Retain(t.Context(), db.Retention{Events: 5}); err != nil || removed < 20 {
		t.Fatalf("got %d events removed and error %v", removed, err)
	}
	head, err := d.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.IndexWords(t.Context(), head); err != nil {
		t.Fatal(err)
	}
	hits, next, err := d.Search(t.Context(),
		db.Search{User: "alice", Channels: []db.SearchChannel{{ID: channel}}, Query: "word1", Limit: 50})
	if err != nil || len(hits) != 10 || next != 0 {
		t.Errorf("got %d hits, next %d and error %v, want 10", len(hits), next, err)
	}
	if d.Words.Position.Load() != head.Seq {
		t.Errorf("got the index up to %d, want %d", d.Words.Position.Load(), head.Seq)
	}
}

// A search does not distinguish capital letters, in any alphabet, and marks the words as they were written.
func TestSearchKnowsNoCapitals(t *testing.T) {
	t.Parallel()
	d := open(t)
	channel, _ := create(t, d, "alice")
	for _, word := range []string{"Disk", "Über", "ПРИВЕТ", "Ωμέγα"} {
		post(t, d, channel, "alice", word+" is here")
	}
	if _, err := index(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	for query, word := range map[string]string{
		"DISK": "Disk", "über": "Über", "привет": "ПРИВЕТ", "ωμέγα": "Ωμέγα",
	} {
		hits, _, err := d.Search(t.Context(),
			db.Search{User: "alice", Channels: []db.SearchChannel{{ID: channel}}, Query: query, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		want := db.MarkBegin + word + db.MarkEnd + " is here"
		if len(hits) != 1 || hits[0].Snippet != want {
			t.Errorf("%s: got %v, want one hit with %q", query, hits, want)
		}
	}
}

// A link finds the messages that have it, whatever stands behind it there, and marks it.
func TestSearchFindsLinks(t *testing.T) {
	t.Parallel()
	d := open(t)
	channel, _ := create(t, d, "alice")
	links := []string{
		"https://example.com/path", "https://example.com", "http://a.example/x?y=1&z=2#part",
		"http://localhost:8080/api", "https://user:pw@host.example:8443/a/b",
		"postgres://guild@db.example/guild",
		"https://example.com/a:b", "/etc/passwd", "foo/bar.go",
	}
	for _, link := range links {
		post(t, d, channel, "alice", "other words")
		post(t, d, channel, "alice", link)
		post(t, d, channel, "alice", "see "+link+".")
		post(t, d, channel, "alice", "(see "+link+"), please")
		post(t, d, channel, "alice", "<"+link+"> is it")
	}
	if _, err := index(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		for _, query := range []string{link, `"` + link + `"`, link + ".", "(" + link + ")"} {
			found := 0
			hits, _, err := d.Search(t.Context(), db.Search{
				User: "alice", Channels: []db.SearchChannel{{ID: channel}}, Query: query, Limit: 50,
			})
			for _, h := range hits {
				if strings.Contains(h.Content, link) && strings.Contains(h.Snippet, db.MarkBegin) {
					found++
				}
			}
			if err != nil || found < 4 {
				t.Errorf("%s: got %d hits and error %v, want 4", query, found, err)
			}
		}
		hits, _, err := d.Search(t.Context(), db.Search{
			User: "alice", Channels: []db.SearchChannel{{ID: channel}}, Query: "words -" + link, Limit: 50,
		})
		if err != nil || len(hits) != len(links) {
			t.Errorf("-%s: got %d hits and error %v, want %d", link, len(hits), err, len(links))
		}
	}
}

// A text finds itself, also if it has words and signs that a query uses for operators.
func TestSearchFindsATextByItself(t *testing.T) {
	t.Parallel()
	d := open(t)
	channel, _ := create(t, d, "alice")
	texts := []string{
		"disk full - retry", "- first", "a <- b", "x - - y", "one\n- two\n- three", "end -", "--- title ---",
		"or", "and", "not", "this or that", "or else", "either or", "a AND b", "OR", `"or" quoted`,
		"tea -- or - milk",
	}
	for _, text := range texts {
		post(t, d, channel, "alice", text)
	}
	if _, err := index(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	find := func(query string) (found []string) {
		t.Helper()
		hits, _, err := d.Search(t.Context(), db.Search{
			User: "alice", Channels: []db.SearchChannel{{ID: channel}}, Query: query, Limit: 50,
		})
		if err != nil {
			t.Fatalf("%q: %v", query, err)
		}
		for _, h := range hits {
			found = append(found, h.Content)
		}
		return found
	}
	for _, text := range texts {
		if got := find(text); !slices.Contains(got, text) {
			t.Errorf("%q: got %q, want the text itself among them", text, got)
		}
	}
	if got := find("disk -retry"); len(got) != 0 {
		t.Errorf("got %q, want nothing: a dash at a word excludes it", got)
	}
}

// The log says that the search index is not filled, and when it is filled again. A database that has just
// restarted and has no epoch yet is no fault.
func TestTheIndexerSaysWhenItWorksAgain(t *testing.T) {
	t.Parallel()
	url := dbtest.New(t)
	d := openURL(t, url)
	channel, _ := create(t, d, "alice")
	post(t, d, channel, "alice", "hello")
	head, err := d.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	holder := dbtest.Connect(t, url)
	var log lines
	var running sync.WaitGroup
	logger := slog.New(slog.NewTextHandler(&log, nil))
	running.Go(func() { d.RunIndexer(t.Context(), func() events.Cursor { return head }, logger) })
	t.Cleanup(running.Wait)
	// meanwhile changes the database while the indexer waits for it. When the function is called again, the
	// indexer has seen the last change.
	meanwhile := func(change string) {
		t.Helper()
		exec(t, holder, `BEGIN`)
		exec(t, holder, `LOCK TABLE words_cursor`)
		awaitBlocked(t, url) // the indexer
		exec(t, holder, change)
		exec(t, holder, `COMMIT`)
	}
	meanwhile(`DELETE FROM epochs`)
	meanwhile(`ALTER TABLE words_cursor RENAME TO words_gone`)
	if n := log.count("no epoch"); n != 0 {
		t.Errorf("without an epoch: got %d errors in the log, want none", n)
	}
	eventually(t, "the log says that the index is not filled", func() bool {
		return log.count("search index could not be filled") == 1
	})
	exec(t, holder, `ALTER TABLE words_gone RENAME TO words_cursor`)
	if _, err := d.Head(t.Context()); err != nil { // begins an epoch
		t.Fatal(err)
	}
	eventually(t, "the log says that it works again", func() bool {
		return log.count("the search index is filled again") == 1
	})
}
