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
)

// Posts that arrive while a group is being stored wait, and are stored together after it.
func TestConcurrentPostsAreStoredTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var groups [][]string
		release := make(chan struct{})
		g := posts{store: func(_ context.Context, group []*posting) {
			var contents []string
			for _, p := range group {
				contents = append(contents, p.Content)
				p.post.Content = p.Content
			}
			groups = append(groups, contents)
			<-release
		}}
		got := make(chan string, 200)
		add := func(content string) {
			go func() {
				m := NewMessage{}
				m.Content = content
				p, err := g.add(t.Context(), m)
				if err != nil {
					t.Error(err)
				}
				got <- p.Content
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
		if all := slices.Concat(groups...); !slices.IsSortedFunc(all, func(a, b string) int { return number(a) - number(b) }) {
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
			t.Errorf("got %d waiting at the end, and busy: %v; want none", len(g.waiting), g.busy)
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
		g := posts{store: func(ctx context.Context, group []*posting) {
			for _, p := range group {
				stored = append(stored, p.Content)
			}
			<-release
			if ctx.Err() != nil {
				t.Errorf("a group is stored in the context of a client that is gone: %v", ctx.Err())
			}
		}}
		var wg sync.WaitGroup
		add := func(ctx context.Context, content string, want error) {
			wg.Go(func() {
				m := NewMessage{}
				m.Content = content
				if _, err := g.add(ctx, m); !errors.Is(err, want) {
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
			t.Errorf("got %d waiting at the end, and busy: %v; want none", len(g.waiting), g.busy)
		}
	})
}
