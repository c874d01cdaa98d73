package handlers

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fabric-guild/handlers/web"
)

// For the tests outside of the package.
const (
	ReadsAtOnce = readsAtOnce
	PollsAtOnce = pollsAtOnce
)

// Requests beyond the bound wait in order. Their number and their time are limited. Other users do not wait for them.
func TestLanes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLanes(2, 3)
		leaveFirst, err1 := l.enter(t.Context(), "alice")
		leaveSecond, err2 := l.enter(t.Context(), "alice")
		leaveBob, err3 := l.enter(t.Context(), "bob")
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		type result struct {
			n     int
			leave func()
			err   error
			took  time.Duration
		}
		results := make(chan result, 3)
		ctx, hangUp := context.WithCancel(t.Context())
		wait := func(n int, ctx context.Context) {
			began := time.Now()
			go func() {
				leave, err := l.enter(ctx, "alice")
				results <- result{n, leave, err, time.Since(began)}
			}()
			synctest.Wait()
		}
		wait(3, t.Context())
		wait(4, ctx)
		wait(5, t.Context())
		refused := func(err error) {
			t.Helper()
			p, ok := errors.AsType[*web.Problem](err)
			if !ok || p.Status != http.StatusTooManyRequests || p.Code != "too_many_requests" || p.RetryAfter == 0 {
				t.Errorf("got %v, want a refusal with Retry-After", err)
			}
		}
		_, err := l.enter(t.Context(), "alice") // a sixth does not even wait
		refused(err)
		leaveFirst()
		if r := <-results; r.n != 3 || r.err != nil {
			t.Errorf("got %d and %v, want the one who waited longest", r.n, r.err)
		}
		hangUp()
		if r := <-results; r.n != 4 || !errors.Is(r.err, context.Canceled) {
			t.Errorf("got %d and %v, want the one whose client is gone", r.n, r.err)
		}
		if r := <-results; r.n != 5 || r.took != turnPatience {
			t.Errorf("got %d after %v, want a refusal after %v", r.n, r.took, turnPatience)
		} else {
			refused(r.err)
		}
		leaveSecond()
		leaveSecond = nil
		leaveBob()
		if got := l.users["alice"].busy; got != 1 || len(l.users) != 1 {
			t.Errorf("got %d places taken by alice and %d users, want 1 of 1", got, len(l.users))
		}
	})
}

// Those who ask whether the server is ready at the same time share one look.
func TestChecksAreShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := new(Server) // without a database: a look of its own would panic
		looking, answered := make(chan struct{}), atomic.Int64{}
		go func() {
			_, _, _ = s.checking.Do("", func() (any, error) {
				<-looking
				return []check{{name: "shared"}}, nil
			})
		}()
		synctest.Wait()
		for range 50 {
			go func() {
				if got := s.checkOnce(t.Context()); len(got) == 1 && got[0].name == "shared" {
					answered.Add(1)
				}
			}()
		}
		synctest.Wait()
		close(looking)
		synctest.Wait()
		if got := answered.Load(); got != 50 {
			t.Errorf("got %d answers, want 50", got)
		}
	})
}
