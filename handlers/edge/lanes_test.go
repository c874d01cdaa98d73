package edge

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"fabric-guild/handlers/web"
)

// Requests beyond the bound wait in order. Their number and their time are limited. Other users do not wait
// for them.
func TestLanes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewLanes(2, 3)
		leaveFirst, err1 := l.Enter(t.Context(), "alice")
		leaveSecond, err2 := l.Enter(t.Context(), "alice")
		leaveBob, err3 := l.Enter(t.Context(), "bob")
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
				leave, err := l.Enter(ctx, "alice")
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
			if !ok || p.Status != http.StatusTooManyRequests || p.Code != "too_many_requests" ||
				p.RetryAfter == 0 {
				t.Errorf("got %v, want a refusal with Retry-After", err)
			}
		}
		_, err := l.Enter(t.Context(), "alice") // a sixth does not even wait
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
