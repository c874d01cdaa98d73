package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// pieceKey returns the idempotency key of a message that does not end the wake. It is made of what is posted,
// not of the wake's id: if an earlier attempt has posted the same, it is not posted again.
func pieceKey(w *wake, i int, piece string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %s", w.newest().ID, i, piece))
	return "agent-" + hex.EncodeToString(sum[:16])
}

// maxMentions is how many users the server lets a message mention.
const maxMentions = 200

// mention gives the last of several messages the mentions of all: the first maxMentions of them, because the
// server would refuse a message with more, after the others were posted.
func (a *agent) mention(body map[string]any, text string) {
	if a.Mentions != nil {
		all := a.Mentions(text)
		body["mentionUserIds"] = append([]string{}, all[:min(len(all), maxMentions)]...)
	}
}

// refused ends a wake whose reply was refused. A refusal that would come again declines the wake, so that the
// same work is not done again for nothing.
func (a *agent) refused(ctx context.Context, w *wake, err error) {
	if declines(err) {
		a.notice("wake %s in #%s: the reply was refused: %v", w.ID, w.Name, err)
		body := map[string]any{"outcome": "declined", "note": code(err)}
		err = a.persist(ctx, "/api/wakes/"+w.ID+"/ack", "", body)
	}
	if code(err) == "lease_limit" {
		a.nack(w, err.Error(), nil)
		return
	}
	a.ended(w, err)
}

// ack ends a wake without a message.
func (a *agent) ack(w *wake) {
	ctx, cancel := a.lastCalls()
	defer cancel()
	a.ended(w, a.persist(ctx, "/api/wakes/"+w.ID+"/ack", "", map[string]any{}))
}

// nack gives a wake back, so that it comes again. With a delay in seconds, the attempt does not count.
func (a *agent) nack(w *wake, complaint string, delay *int) {
	said := "it is paused"
	if delay != nil {
		said = fmt.Sprintf("it comes back in %d s", *delay)
	}
	a.notice("wake %s in #%s given back, %s: %s", w.ID, w.Name, said, shorten(complaint))
	a.giveBack(w, complaint, delay)
}

// giveBack is nack without its notice. If somebody has asked the agent to stop, the wake does not come again.
func (a *agent) giveBack(w *wake, complaint string, delay *int) {
	ctx, cancel := a.lastCalls()
	defer cancel()
	body := map[string]any{}
	if complaint = shorten(complaint); complaint != "" {
		body["error"] = complaint
	}
	if delay != nil {
		body["delaySeconds"] = *delay
	}
	a.ended(w, a.persist(ctx, "/api/wakes/"+w.ID+"/nack", "", body))
}

// ended handles the answer to a request that ends a wake. err may be nil.
func (a *agent) ended(w *wake, err error) {
	_, noToken := errors.AsType[tokenError](err)
	switch {
	case err == nil:
	case noToken || status(err) == http.StatusUnauthorized:
		a.fail(err)
	case code(err) == "wake_lost":
		a.notice("wake %s in #%s: %v; dropping it", w.ID, w.Name, errLost)
	default:
		a.notice("wake %s in #%s did not end: %v; the server hands it out again", w.ID, w.Name, err)
	}
}

// lastCalls returns the context of the requests that end a wake. It ends some time after the agent was asked
// to end, so that a server that is gone does not keep the agent from ending.
func (a *agent) lastCalls() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(a.stopping, func() { time.AfterFunc(lastCalls, cancel) })
	brief := context.AfterFunc(a.killed, func() { time.AfterFunc(lastWords, cancel) })
	return ctx, func() {
		stop()
		brief()
		cancel()
	}
}
