package handlers

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
)

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
