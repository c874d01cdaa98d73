package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"fabric-guild/events/remote"
)

// killGrace is how long a command may take to end after SIGTERM.
const killGrace = 5 * time.Second

// tryAgainLater is the exit code EX_TEMPFAIL of sysexits.h.
const tryAgainLater = 75

var (
	errStopped = errors.New("asked to stop")
	errLost    = errors.New("somebody else has claimed the work, or nobody needs it any more")
	errGone    = errors.New("its messages were deleted")
	errTooLong = fmt.Errorf("the command printed more than %d MiB", maxOutput>>20)
)

// work runs the command for a wake and ends the wake. It blocks until both are done.
func (a *agent) work(w *wake) {
	running, stop := context.WithCancelCause(a.killed)
	leasing, end := context.WithCancel(a.killed)
	var extending sync.WaitGroup
	extending.Go(func() { a.extend(leasing, w, stop) })
	defer extending.Wait()
	defer end()

	out, complaint, err := a.run(running, w)
	stop(nil)
	exit, failed := errors.AsType[*exec.ExitError](err)
	switch {
	case errors.Is(err, errLost):
		a.notice("wake %s in #%s: %v; dropping it", w.ID, w.Name, err)
	case errors.Is(err, errGone):
		a.notice("wake %s in #%s: %v; nothing is posted", w.ID, w.Name, err)
		a.ack(w)
	case errors.Is(err, errKilled):
		a.nack(w, "", new(0))
	case a.killed.Err() != nil: // without a token nothing can be said
	case err == nil:
		a.reply(w, clean(out))
	case errors.Is(err, errStopped):
		a.notice("wake %s in #%s: %v, so the command was ended", w.ID, w.Name, err)
		a.giveBack(w, cmp.Or(complaint, err.Error()), nil)
	case failed && exit.ExitCode() == tryAgainLater:
		a.nack(w, complaint, new(10))
	default:
		a.nack(w, cmp.Or(complaint, err.Error()), nil)
	}
}

// run runs the command and blocks until it ends. If ctx ends first, run ends the command and returns the
// cause. complaint is the last line of stderr.
func (a *agent) run(ctx context.Context, w *wake) (out []byte, complaint string, err error) {
	stdout, stderr := newOutput(), &lastLine{to: a.stderr}
	cmd := remote.NewShell(a.exec, w.raw, w.variables(a.account.URL))
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	timeout := time.NewTimer(a.timeout)
	defer timeout.Stop()
	select {
	case err = <-ended:
		return stdout.b.Bytes(), stderr.String(), cmp.Or(err, stdout.tooMuch())
	case <-timeout.C:
		err = fmt.Errorf("the command took longer than %v", a.timeout)
	case <-stdout.full:
		err = errTooLong
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	cmd.End(a.killed, killGrace)
	exited := <-ended
	switch {
	case a.killed.Err() != nil:
		err = context.Cause(a.killed)
	case errors.Is(err, errStopped) && exited == nil:
		return stdout.b.Bytes(), "", stdout.tooMuch() // it had something to say before it stopped
	case errors.Is(err, errStopped):
		return nil, stderr.String(), err
	}
	return nil, "", err
}

// extend extends the lease of a wake until ctx ends. It calls stop if the command must end.
func (a *agent) extend(ctx context.Context, w *wake, stop func(error)) {
	third := time.Duration(w.LeaseMS) * time.Millisecond / 3
	pause := third
	var backoff remote.Backoff
	backoff.SetRetry("500")
	patience := min(callTimeout, third) // so that there is time for another try
	for sleep(ctx, pause) {
		var answer struct {
			Gone []string
			Stop bool
		}
		once, cancel := context.WithTimeoutCause(ctx, patience, errSilent)
		body := map[string]any{"leaseSeconds": int(a.lease.Seconds())}
		err := a.call(once, "/api/wakes/"+w.ID+"/extend", "", body, &answer)
		cancel()
		switch {
		case err == nil:
			backoff.Reset()
			pause = third
			switch {
			case answer.Stop:
				stop(errStopped)
			case len(w.Messages) > 0 && len(answer.Gone) == len(w.Messages):
				stop(errGone)
			}
		case code(err) == "wake_lost":
			stop(errLost)
			return
		case code(err) == "lease_limit": // a reply still counts
			return
		default:
			pause = min(third, backoff.Next(remote.RetryAfter(err)))
		}
	}
}

// reply posts a text and ends the wake with it. A long text becomes several messages, and the last one ends
// the wake. An empty text ends the wake without a message.
func (a *agent) reply(w *wake, text string) {
	pieces := split(text)
	if len(pieces) == 0 {
		a.notice("wake %s in #%s: the command printed nothing, so nothing is posted", w.ID, w.Name)
		a.ack(w)
		return
	}
	ctx, cancel := a.lastCalls()
	defer cancel()
	path := "/api/channels/" + w.ChannelID + "/messages"
	for i, piece := range pieces {
		body := map[string]any{"content": piece, "replyTo": w.newest().ID, "wakeId": w.ID}
		key := "" // the last message needs no key: only one message can end a wake
		if i < len(pieces)-1 {
			body["keepWake"] = true
			key = pieceKey(w, i, piece)
		} else if i > 0 {
			a.mention(body, text)
		}
		if err := a.persist(ctx, path, key, body); err != nil {
			a.refused(ctx, w, err)
			return
		}
	}
}
