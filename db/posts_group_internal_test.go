package db

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// Posts that arrive while a group is being stored wait, and are stored together after it.
func TestConcurrentPostsAreStoredTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var groups [][]string
		release := make(chan struct{})
		g := newPosts(func(_ context.Context, group []*posting) {
			var contents []string
			for _, p := range group {
				contents = append(contents, p.Content)
				p.post.Content = p.Content
			}
			groups = append(groups, contents)
			<-release
		})
		got := make(chan string, 200)
		add := func(content string) {
			go func() {
				p := &posting{seat: newSeat()}
				p.Content = content
				if err := g.add(t.Context(), p); err != nil {
					t.Error(err)
				}
				got <- p.post.Content
			}()
			synctest.Wait()
		}
		total := 1 + groupLimit + 3
		for i := range total {
			add(strconv.Itoa(i))
		}
		for range 3 { // one after the other
			release <- struct{}{}
			synctest.Wait()
		}

		var sizes []int
		for _, group := range groups {
			sizes = append(sizes, len(group))
		}
		if diff := cmp.Diff([]int{1, groupLimit, 3}, sizes); diff != "" {
			t.Errorf("the sizes of the groups (-want +got):\n%s", diff)
		}
		if all := slices.Concat(groups...); !slices.IsSortedFunc(
			all, func(a, b string) int { return number(a) - number(b) },
		) {
			t.Errorf("got %v, want them in the order of arrival", all)
		}
		var answered []string
		for range total {
			answered = append(answered, <-got)
		}
		slices.Sort(answered)
		if len(slices.Compact(answered)) != total {
			t.Errorf("got answers %v, want one for each", answered)
		}
		if g.busy || len(g.waiting) != 0 {
			t.Errorf("got %d waiting at the end, and busy %v; want none", len(g.waiting), g.busy)
		}
		close(release)
		add("again")
		if p := <-got; p != "again" {
			t.Errorf("got %q after all was done", p)
		}
	})
}

func number(s string) int { n, _ := strconv.Atoi(s); return n }

// A post that waits for a group that hangs gives up, and is never stored. A post whose client gave up is
// never stored either.
func TestPostsGiveUpWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stored []string
		release := make(chan struct{})
		g := newPosts(func(ctx context.Context, group []*posting) {
			for _, p := range group {
				stored = append(stored, p.Content)
			}
			<-release
			if ctx.Err() != nil {
				t.Errorf("a group is stored in the context of a client that is gone: %v", ctx.Err())
			}
		})
		var wg sync.WaitGroup
		add := func(ctx context.Context, content string, want error) {
			wg.Go(func() {
				p := &posting{seat: newSeat()}
				p.Content = content
				if err := g.add(ctx, p); !errors.Is(err, want) {
					t.Errorf("%s: got %v, want %v", content, err, want)
				}
			})
			synctest.Wait()
		}
		gone, leave := context.WithCancel(t.Context())
		add(gone, "under way", nil)
		add(gone, "of who leaves", ErrUnavailable)
		add(t.Context(), "too late", ErrUnavailable)
		leave()
		time.Sleep(acquireTimeout)
		add(t.Context(), "in time", nil)
		release <- struct{}{}
		release <- struct{}{}
		wg.Wait()
		if diff := cmp.Diff([]string{"under way", "in time"}, stored); diff != "" {
			t.Errorf("what was stored (-want +got):\n%s", diff)
		}
		if g.busy || len(g.waiting) != 0 {
			t.Errorf("got %d waiting at the end, and busy %v; want none", len(g.waiting), g.busy)
		}
	})
}

// groupsOf adds posts while another one is being stored, and returns the groups that follow, by content.
func groupsOf(t *testing.T, waiting ...NewMessage) (groups [][]string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		g := newPosts(func(_ context.Context, group []*posting) {
			var contents []string
			for _, p := range group {
				contents = append(contents, p.Content)
			}
			groups = append(groups, contents)
			<-release
		})
		var wg sync.WaitGroup
		for _, m := range append([]NewMessage{{}}, waiting...) {
			wg.Go(func() {
				if err := g.add(t.Context(), &posting{seat: newSeat(), NewMessage: m}); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		close(release)
		wg.Wait()
	})
	return groups[1:]
}

func says(author, content string, mentioned int) NewMessage {
	m := NewMessage{Mentioned: make([]string, mentioned)}
	m.AuthorUserID = author
	m.Content = content
	return m
}

// A group is bounded by its work, and takes the posts of authors in turn. So one author's expensive posts
// delay another author's post by one group.
func TestGroupsAreFair(t *testing.T) {
	var all []NewMessage
	for i := range 6 {
		all = append(all, says("mallory", strconv.Itoa(i), 200))
	}
	all = append(all, says("alice", "a", 0), says("bob", "b", 0), says("bob", "c", 0))
	want := [][]string{{"0", "a", "b", "c"}, {"1"}, {"2"}, {"3"}, {"4"}, {"5"}}
	if diff := cmp.Diff(want, groupsOf(t, all...)); diff != "" {
		t.Errorf("the groups (-want +got):\n%s", diff)
	}
	all = nil
	for range 100 {
		all = append(all, says("mallory", "m", 0))
	}
	all = append(all, says("alice", "a", 0))
	got := groupsOf(t, all...)
	if !slices.Contains(got[0], "a") || len(got[0]) != groupLimit {
		t.Errorf("got the first group %q, want a full one with alice's post", got[0])
	}
}

// A group has one reply for a wake.
func TestAGroupHasOneReplyForAWake(t *testing.T) {
	reply := func(content string, wake byte) NewMessage {
		m := says("bot", content, 0)
		m.Reply = &Reply{Wake: uuid.UUID{wake}}
		return m
	}
	want := [][]string{{"1", "2"}, {"1 again", "plain"}, {"1 and again"}}
	got := groupsOf(t, reply("1", 1), reply("2", 2), reply("1 again", 1), says("bot", "plain", 0),
		reply("1 and again", 1))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the groups (-want +got):\n%s", diff)
	}
}
