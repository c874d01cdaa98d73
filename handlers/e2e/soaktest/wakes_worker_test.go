package soaktest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// A claimer is a worker of an agent. It is killed at random: then it goes on without what it knew.
type claimer struct {
	worker
	s     *wakeSoak
	agent string
	named bool // its claims name the worker, so its next life takes the work of the last one over
	life  int
}

type wakeMessage struct{ ID, Content string }

// A work is what a claim hands out.
type work struct {
	ID, ChannelID string
	Attempt       int
	Messages      []wakeMessage

	got int64 // when the worker got it, by wakeSoak.now
}

func poisoned(text string) bool { return strings.HasPrefix(text, poison) }

func (s *wakeSoak) newClaimer(agent string, k int) *claimer {
	r := rand.New(rand.NewPCG(rand.Uint64(), 1))
	return &claimer{worker: worker{soak: s.soak, rand: r, number: k}, s: s, agent: agent, named: k == 0}
}

// run claims and answers until ctx ends. Until faults ends, it crashes, hangs and loses answers.
func (c *claimer) run(ctx, faults context.Context) {
	for ctx.Err() == nil {
		w := c.claim(ctx, faults)
		if w == nil {
			continue
		}
		// Five faults in a row would make a wake die, so each wake meets two at most. After that the worker
		// keeps the wake, however slow the machine is.
		faulty := faults.Err() == nil && w.Attempt <= 2
		switch {
		case faulty && !c.falter(ctx, w):
			c.s.crashes.Add(1)
			c.life++
		case !faulty && c.extend(ctx, w, 60) != done:
			continue
		default:
			c.finish(ctx, w)
		}
	}
}

// claim claims once. nil: there is nothing to do.
func (c *claimer) claim(ctx, faults context.Context) *work {
	body := map[string]any{
		"waitSeconds": 2, "leaseSeconds": 5, "limit": 1 + c.rand.IntN(20), "context": c.rand.IntN(5),
	}
	if c.named {
		body["worker"] = "claimer"
		body["instance"] = fmt.Sprint(c.life)
	}
	once, cancel := context.WithCancel(ctx)
	defer cancel()
	if faults.Err() == nil && c.rand.IntN(20) == 0 { // the client hangs up
		defer time.AfterFunc(rand.N(100*time.Millisecond), cancel).Stop()
	}
	var a struct{ Wake *work }
	began := c.s.tick()
	if o, known := c.try(once, "/api/wakes/claim", "", body, &a); !known || o != done {
		wait(ctx, 50*time.Millisecond)
		return nil
	}
	if a.Wake != nil {
		c.s.claimed(c.agent, a.Wake, began)
	}
	return a.Wake
}

// tick returns the next moment, for the order of claims and their answers.
func (s *wakeSoak) tick() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now++
	return s.now
}

// claimed notes the answer of a claim that was sent at began.
func (s *wakeSoak) claimed(agent string, w *work, began int64) {
	w.got = s.tick()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range w.Messages {
		key := owed{agent, m.ID}
		s.claims[key] = max(began, s.claims[key])
	}
}

// taken reports whether a claim that was sent after the answer with w has got the work of w. The server must
// refuse all that w's worker sends from now on. It may have to refuse it earlier too.
func (s *wakeSoak) taken(agent string, w *work) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claims[owed{agent, w.Messages[0].ID}] > w.got
}

// falter does to a wake what a worker with faults does. It reports whether the worker lives on to finish the
// work.
func (c *claimer) falter(ctx context.Context, w *work) (lives bool) {
	path := "/api/wakes/" + w.ID
	switch c.rand.IntN(20) {
	case 0, 1, 2:
		return false
	case 3: // it hangs until another worker has its work
		for i := 0; i < 100 && !c.s.taken(c.agent, w) && ctx.Err() == nil; i++ {
			wait(ctx, 100*time.Millisecond)
		}
	case 4: // it crashes while it replies
		if isPoison(w.Messages) {
			return false
		}
		once, cancel := context.WithTimeout(ctx, rand.N(30*time.Millisecond))
		defer cancel()
		text := c.text("crashed")
		o, _ := c.try(once, c.path(w), "", c.reply(w, text), &struct{}{})
		c.s.record(text, reply{author: c.agent, outcome: o, messages: w.Messages})
		return false
	case 5:
		c.keep(ctx, w)
		return !c.named // a lease of a minute ends for the next life only
	case 6:
		c.extend(ctx, w, 5)
		return false
	case 7:
		c.post(ctx, path+"/nack", "", map[string]any{"delaySeconds": c.rand.IntN(2), "error": "later"})
		return false
	}
	return true
}

// extend extends a lease.
func (c *claimer) extend(ctx context.Context, w *work, seconds int) outcome {
	body := map[string]any{"leaseSeconds": seconds, "status": "busy"}
	return c.post(ctx, "/api/wakes/"+w.ID+"/extend", "", body)
}

// finish ends a wake.
func (c *claimer) finish(ctx context.Context, w *work) {
	switch n := c.rand.IntN(20); {
	case isPoison(w.Messages):
		c.post(ctx, "/api/wakes/"+w.ID+"/nack", "", map[string]any{"error": poison})
		return
	case n == 0:
		c.s.recordAck(c.agent, w.Messages, c.post(ctx, "/api/wakes/"+w.ID+"/ack", "", map[string]any{}))
		return
	case n == 1:
		c.keep(ctx, w)
	}
	key := ""
	if c.rand.IntN(2) == 0 {
		key = c.name(c.agent)
	}
	text := c.text("answer")
	late := c.s.taken(c.agent, w)
	o := c.post(ctx, c.path(w), key, c.reply(w, text))
	c.s.record(text, reply{author: c.agent, outcome: o, messages: w.Messages, late: late})
}

// keep posts a message that does not end the wake.
func (c *claimer) keep(ctx context.Context, w *work) {
	text := c.text("wait")
	body := c.reply(w, text)
	body["keepWake"] = true
	late := c.s.taken(c.agent, w)
	o := c.post(ctx, c.path(w), c.name(c.agent), body)
	c.s.record(text, reply{author: c.agent, outcome: o, kept: true, late: late})
}

func (c *claimer) path(w *work) string { return "/api/channels/" + w.ChannelID + "/messages" }

// text returns a text that no other message has. It wakes no agent.
func (c *claimer) text(kind string) string { return "<@ann> " + c.name(kind+" "+c.agent) }

func (c *claimer) reply(w *work, text string) map[string]any {
	return map[string]any{"content": text, "wakeId": w.ID}
}

// post repeats a request until its outcome is known, or ctx ends.
func (c *claimer) post(ctx context.Context, path, key string, body map[string]any) outcome {
	tries := 0
	for ctx.Err() == nil {
		tries++
		o, known := c.try(ctx, path, key, body, &struct{}{})
		switch {
		case !known:
			wait(ctx, 50*time.Millisecond)
			continue
		case o == refused:
			c.s.lost.Add(1)
			if tries > 1 && strings.HasSuffix(path, "ack") {
				return unknown // an ack that took effect is refused when it comes again
			}
		}
		return o
	}
	return unknown
}

// try makes a request once. If it got no answer, or one that says to try again, known is false.
func (c *claimer) try(
	ctx context.Context, path, key string, body map[string]any, out any,
) (o outcome, known bool) {
	text, _ := json.Marshal(body) // never fails for these bodies
	status, answer, err := c.send(ctx, c.agent, http.MethodPost, path, key, text)
	var said struct{ Code string }
	if err == nil && status >= 300 {
		_ = json.Unmarshal(answer, &said)
	}
	switch {
	case err != nil || status == http.StatusServiceUnavailable || said.Code == "idempotency_in_flight":
		return unknown, false
	case status < 300:
		if len(answer) > 0 {
			err = json.Unmarshal(answer, out)
		}
		if err != nil {
			c.fault("%s: %v in %.200q", path, err, answer)
		}
		return done, true
	case said.Code != "wake_lost":
		c.fault("POST %s %s by %s: got %d %.300s", path, text, c.agent, status, answer)
	}
	return refused, true
}
