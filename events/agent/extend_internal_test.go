package agent

import (
	"context"
	"flag"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fabric-guild/events/remote"
)

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// A connection that falls silent during an extension does not cost a short lease.
func TestAnExtensionThatHangs(t *testing.T) {
	for _, lease := range []time.Duration{5 * time.Second, 15 * time.Second, 30 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			var account remote.Account
			flags := flag.NewFlagSet("", flag.ContinueOnError)
			account.Flags(flags)
			if err := flags.Parse([]string{"-token", "t"}); err != nil {
				t.Fatal(err)
			}
			ctx, end := context.WithCancel(t.Context())
			began := time.Now()
			var extended time.Duration
			calls := 0
			hangs := func(r *http.Request) (*http.Response, error) {
				if calls++; calls == 1 {
					<-r.Context().Done()
					return nil, r.Context().Err()
				}
				extended = time.Since(began)
				end()
				return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{}`))}, nil
			}
			a := &agent{
				Command: &Command{lease: lease},
				client:  client{server: &account, http: &http.Client{Transport: transport(hangs)}},
			}
			a.extend(ctx, &wake{LeaseMS: lease.Milliseconds()}, func(error) {})
			if extended == 0 || extended >= lease {
				t.Errorf("a lease of %v was extended after %v", lease, extended)
			}
		})
	}
}
