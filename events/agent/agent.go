// Package agent is the command agent. It claims wakes, runs a shell command for each, and posts what the
// command prints as the reply that ends the wake. So each waking message is answered once, also if the agent,
// its command or the server is killed at any moment.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"

	"fabric-guild/events/remote"
)

const (
	claimWait = 30 * time.Second // how long a claim waits for work at the server
	// lastCalls is how long the agent tries to end a wake after it was asked to end itself, lastWords after
	// it was killed by a second signal.
	lastCalls = 30 * time.Second
	lastWords = 3 * time.Second
)

// An agent is the state of one call of Run.
type agent struct {
	*Command
	client
	worker, instance string
	stderr           *shared // of the commands and of the agent
	notice           func(format string, args ...any)

	stopping context.Context // ends at the first signal
	killed   context.Context // ends at the second signal, and when the token has ended
	fail     func(error)     // ends everything with an error
}

// Run claims wakes and works on them. When a signal ends ctx, Run claims no more, lets the running commands
// finish and returns nil. A further signal kills them. Any error is a *remote.Error.
func (c *Command) Run(ctx context.Context, stderr io.Writer) error {
	if err := c.check(); err != nil {
		return remote.Exit(remote.ExitUsage, err)
	}
	transport := remote.NewTransport()
	transport.MaxIdleConnsPerHost = 2*c.parallel + 1
	defer transport.CloseIdleConnections()
	killed, kill := context.WithCancelCause(context.Background())
	defer kill(nil)
	claiming, stop := context.WithCancel(ctx)
	defer stop()
	a := &agent{
		Command:  c,
		client:   client{server: &c.account, http: remote.NewHTTPClient(transport)},
		worker:   c.worker(),
		instance: uuid.NewString(),
		stderr:   share(stderr),
		stopping: ctx,
		killed:   killed,
		fail: func(err error) {
			kill(err)
			stop()
		},
	}
	defer a.stderr.close()
	a.notice = func(format string, args ...any) {
		_, _ = fmt.Fprintln(a.stderr, "fabric-guild:", remote.Plain(fmt.Sprintf(format, args...)))
	}
	// The agent must go on when the reader of its stderr ends: a command may run.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	defer a.killAtSecondSignal(ctx, func() { kill(errKilled) })()

	var working sync.WaitGroup
	err := a.claims(claiming, &working)
	if err != nil {
		a.fail(err)
	}
	working.Wait()
	if cause := context.Cause(killed); cause != nil && !errors.Is(cause, errKilled) {
		return remote.Exit(remote.ExitCode(cause), cause)
	}
	return nil
}

var errKilled = errors.New("killed by a second signal")

// killAtSecondSignal calls kill if a signal comes after the one that has ended ctx. It listens from the
// start: otherwise a second signal that follows at once would end the program, and leave the commands behind.
// stop ends the watch and blocks until its goroutine has ended.
func (a *agent) killAtSecondSignal(ctx context.Context, kill func()) (stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, remote.EndSignals()...)
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		defer signal.Stop(signals)
		select {
		case <-ctx.Done():
		case <-done:
			return
		}
		a.notice("stopping: running commands may finish; another signal kills them")
		for range 2 { // the first is the one that has ended ctx
			select {
			case <-signals:
			case <-done:
				return
			}
		}
		kill()
	})
	return func() {
		close(done)
		watching.Wait()
	}
}

// claims claims wakes, and works on up to -parallel of them at once. It blocks until ctx ends, and then
// returns nil, or until the server refuses claims for good.
func (a *agent) claims(ctx context.Context, working *sync.WaitGroup) error {
	slots := make(chan struct{}, a.parallel)
	var backoff remote.Backoff
	troubled := true // the first claim says that the agent works
	for wait := time.Duration(0); ; wait = claimWait {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		w, err := a.claim(ctx, wait)
		switch {
		case err == nil:
			backoff.Reset()
			if troubled {
				a.notice("claiming wakes from %s", a.account.URL)
			}
			troubled = false
		case ctx.Err() != nil:
			return nil
		case !a.passes(err):
			return err
		default:
			troubled = true
			pause := backoff.Next(remote.RetryAfter(err))
			a.notice("%v; trying again in %v", remote.Cause(err), pause.Round(100*time.Millisecond))
			if !sleep(ctx, pause) {
				return nil
			}
		}
		switch {
		case w == nil:
			<-slots
		case ctx.Err() != nil:
			a.nack(w, "", new(0)) // it came too late to begin
			return nil
		default:
			working.Go(func() {
				defer func() { <-slots }()
				a.work(w)
			})
		}
	}
}

// claim claims a wake; nil: nothing became due in time.
func (a *agent) claim(ctx context.Context, wait time.Duration) (*wake, error) {
	body := map[string]any{
		"waitSeconds": int(wait.Seconds()), "leaseSeconds": int(a.lease.Seconds()),
		"worker": a.worker, "instance": a.instance,
	}
	if a.limit > 0 {
		body["limit"] = a.limit
	}
	if a.maxAge > 0 {
		body["maxAgeSeconds"] = int(a.maxAge.Seconds())
	}
	if ids := a.channelIDs(); ids != nil {
		body["channelIds"] = ids
	}
	var answer struct{ Wake *wake }
	ctx, cancel := context.WithTimeoutCause(ctx, wait+callTimeout, errSilent)
	defer cancel()
	err := a.call(ctx, "/api/wakes/claim", "", body, &answer)
	return answer.Wake, err
}

// sleep blocks for d. It returns false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// status returns the status of a refusal with a code, and 0 for any other error. Only the server's own
// refusals have a code.
func status(err error) int {
	if r, ok := errors.AsType[*remote.Refusal](err); ok && r.Code != "" {
		return r.Status
	}
	return 0
}

// code returns the code of a refusal, or "".
func code(err error) string {
	if r, ok := errors.AsType[*remote.Refusal](err); ok {
		return r.Code
	}
	return ""
}

// declines reports whether a post was refused so that it would be refused again: the wake must end without
// it.
func declines(err error) bool {
	switch status(err) {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusRequestEntityTooLarge,
		http.StatusUnprocessableEntity:
		return true
	case http.StatusConflict:
		return code(err) == "channel_archived"
	}
	return false
}
