package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// wakes measures the wake queue: what a claim that waits costs and how fast it is answered, how many messages
// are posted, claimed and answered per second, and what a reply and a claim cost.
func (b *run) wakes(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		b.parkedClaims, b.claimLatency, b.replies, b.cycles, b.claimsInManyChannels,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// parkedClaims lets one claim of each agent wait, and measures the server's memory: what is resident, which
// includes memory that the server holds for later, and what the claims use.
func (b *run) parkedClaims(ctx context.Context) error {
	agents := b.Streams / 2
	b.say("wakes: %d claims that wait", agents)
	if err := b.claimAll(ctx, agents, 0); err != nil { // the first claim makes the queue
		return err
	}
	pause(ctx, 3*time.Second) // the server frees the memory that it needed for that
	before := b.target.settled(ctx)
	waiting, leave := context.WithCancel(ctx)
	defer leave()
	ended := make(chan error, 1)
	go func() { ended <- b.claimAll(waiting, agents, claimWait) }()
	pause(ctx, time.Duration(agents)*claimGap+3*time.Second)
	idle := b.target.settled(ctx)
	leave()
	if err := <-ended; err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
		return err
	}
	if idle.known && before.known {
		b.add("wakes", fmt.Sprintf("%d claims that wait", agents), Figures{
			"KiB/claim":      max(0, idle.memory-before.memory) / 1024 / float64(agents),
			"live KiB/claim": (idle.live - before.live) / 1024 / float64(agents),
		})
	}
	return nil
}

// claimGap is the time between the beginnings of claims that wait. Agents do not all claim in one moment. The
// server needs more memory for a claim in its first second, and would show what it needed at the peak.
const claimGap = 20 * time.Millisecond

// claimAll lets agents claim at the same time, and returns when all have their answer. If the claims do not
// wait, few of them run at once; if they do, they begin one after the other.
func (b *run) claimAll(ctx context.Context, agents int, wait time.Duration) error {
	errs := make(chan error, agents)
	slots := make(chan struct{}, 64)
	for i := range agents {
		p := pair{b: b, agent: b.tokens[i]}
		if wait == 0 {
			slots <- struct{}{}
		} else {
			pause(ctx, claimGap)
		}
		go func() {
			_, err := p.claim(ctx, wait)
			if wait == 0 {
				<-slots
			}
			errs <- err
		}()
	}
	var all error
	for range agents {
		if err := <-errs; err != nil {
			all = err
		}
	}
	return all
}

// claimLatency posts while a claim waits and a stream of the same user is open, and compares the two.
func (b *run) claimLatency(ctx context.Context) error {
	b.say("wakes: the answer of a claim that waits, and the stream of the same user")
	p, err := b.pair(ctx, 0)
	if err != nil {
		return err
	}
	f, _, err := b.fleet(ctx, 1)
	if err != nil {
		return err
	}
	defer f.close()
	f.begin()
	var claimed hist
	posts := int64(0)
	for end := time.Now().Add(b.Duration); time.Now().Before(end); posts++ {
		answer := make(chan error, 1)
		var wake string
		var at time.Time
		go func() {
			var err error
			wake, err = p.next(ctx)
			at = time.Now()
			answer <- err
		}()
		pause(ctx, 5*time.Millisecond) // until the claim waits
		due := time.Now()
		if err := b.target.post(ctx, p.person, p.channel, contentOf(due.Sub(epoch))); err != nil {
			return err
		}
		if err := <-answer; err != nil {
			return err
		}
		claimed.add(at.Sub(due))
		if err := p.reply(ctx, wake); err != nil {
			return err
		}
	}
	f.await(ctx, posts)
	stream := f.latency.quantile(0.5)
	b.add("wakes", "from a post to the answer of a claim that waits", Figures{
		"claim p50 ms": ms(claimed.quantile(0.5)), "claim p99 ms": ms(claimed.quantile(0.99)),
		"stream p50 ms": ms(stream), "claim/stream": float64(claimed.quantile(0.5)) / float64(stream),
	})
	return f.fault(posts)
}

// replies compares a reply that ends a wake with a post, in turns, on one connection.
func (b *run) replies(ctx context.Context) error {
	b.say("wakes: a reply, and a post")
	p, err := b.pair(ctx, 0)
	if err != nil {
		return err
	}
	var replied, posted hist
	for end := time.Now().Add(b.Duration); time.Now().Before(end); {
		if err := p.post(ctx); err != nil {
			return err
		}
		wake, err := p.next(ctx)
		if err != nil {
			return err
		}
		start := time.Now()
		if err := p.reply(ctx, wake); err != nil {
			return err
		}
		replied.add(time.Since(start))
		start = time.Now()
		if err := b.target.post(ctx, p.agent, p.channel, answerText); err != nil {
			return err
		}
		posted.add(time.Since(start))
	}
	reply := replied.quantile(0.5)
	post := posted.quantile(0.5)
	b.add("wakes", "a reply with wakeId, connections: 1", Figures{
		"reply p50 ms": ms(reply), "post p50 ms": ms(post), "reply/post": float64(reply) / float64(post),
	})
	return nil
}

// cycles lets agents work as fast as they can: a person posts, the agent claims and replies, and so on.
func (b *run) cycles(ctx context.Context) error {
	var pairs []pair
	for _, agents := range []int{1, 16, 200} {
		if agents > b.Streams/2 {
			break
		}
		for len(pairs) < agents {
			p, err := b.pair(ctx, len(pairs))
			if err != nil {
				return err
			}
			pairs = append(pairs, p)
		}
		b.say("wakes: agents that answer: %d", agents)
		figures, err := b.cycle(ctx, pairs)
		if err != nil {
			return err
		}
		if agents == 16 { // compare with posts alone
			inTurn := func(n int64) (string, string) { p := pairs[n%16]; return p.channel, p.person }
			p, err := b.post(ctx, load{conns: 16, last: b.Duration, channel: inTurn})
			if err != nil {
				return err
			}
			figures["posts/s"] = float64(p.acked) / p.took.Seconds()
			figures["cycle/post"] = figures["cycles/s"] / figures["posts/s"]
			if err := b.drain(ctx, pairs); err != nil {
				return err
			}
		}
		b.add("wakes", fmt.Sprintf("post, claim, reply; agents: %d", agents), figures)
	}
	return nil
}

// cycle lets each pair post, claim and reply for a while.
func (b *run) cycle(ctx context.Context, pairs []pair) (Figures, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var latency hist
	var done atomic.Int64
	start := time.Now()
	end := start.Add(b.Duration)
	var working sync.WaitGroup
	for _, p := range pairs {
		working.Go(func() {
			for time.Now().Before(end) && ctx.Err() == nil {
				begun := time.Now()
				err := p.post(ctx)
				var wake string
				if err == nil {
					wake, err = p.next(ctx)
				}
				if err == nil {
					err = p.reply(ctx, wake)
				}
				if err != nil {
					cancel(err)
					return
				}
				latency.add(time.Since(begun))
				done.Add(1)
			}
		})
	}
	working.Wait()
	return Figures{
		"cycles/s": float64(done.Load()) / time.Since(start).Seconds(), "p50 ms": ms(latency.quantile(0.5)),
	}, context.Cause(ctx)
}

// drain ends what the pairs owe.
func (b *run) drain(ctx context.Context, pairs []pair) error {
	for _, p := range pairs {
		for {
			wake, err := p.claim(ctx, 0)
			if err != nil {
				return err
			}
			if wake == "" {
				break
			}
			err = b.target.call(ctx, p.agent, http.MethodPost, "/api/wakes/"+wake+"/ack",
				map[string]any{}, nil)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// claimsInManyChannels measures a claim that finds one new message, for an agent in few and in many channels.
func (b *run) claimsInManyChannels(ctx context.Context) error {
	last := b.Streams/2 - 1 // an agent that no other step needs
	p, err := b.pair(ctx, last)
	if err != nil {
		return err
	}
	channels := 1
	for _, want := range []int{50, 500, 4900} { // a user can be in 5,000
		if want > 10*b.Streams {
			break
		}
		b.say("wakes: a claim in %d channels", want)
		for ; channels < want; channels++ {
			if _, err := b.workChannel(ctx, p.person, benchUser(last)); err != nil {
				return err
			}
		}
		var claimed hist
		for end := time.Now().Add(b.Duration); time.Now().Before(end); {
			if err := p.post(ctx); err != nil {
				return err
			}
			start := time.Now()
			wake, err := p.next(ctx)
			if err != nil {
				return err
			}
			claimed.add(time.Since(start))
			if err := p.reply(ctx, wake); err != nil {
				return err
			}
		}
		b.add("wakes", fmt.Sprintf("a claim with one new message, channels: %d", want), Figures{
			"claim p50 ms": ms(claimed.quantile(0.5)), "claim p99 ms": ms(claimed.quantile(0.99)),
		})
	}
	return nil
}
