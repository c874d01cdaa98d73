package bench

import (
	"context"
	"fmt"
	"time"
)

// connect opens all streams and leaves them idle.
func (b *run) connect(ctx context.Context) error {
	b.say("connect: %d streams", b.Streams)
	before := b.target.usage(ctx)
	f, took, err := b.fleet(ctx, b.Streams)
	if err != nil {
		return err
	}
	defer f.close()
	opened := b.target.usage(ctx)
	pause(ctx, 3*time.Second) // until the server has given back what opening took
	idle := b.target.usage(ctx)
	b.add("connect", fmt.Sprintf("%d streams, each with its snapshot", b.Streams), Figures{
		"s": took.Seconds(), "streams/s": float64(b.Streams) / took.Seconds(),
	})
	if idle.known {
		b.add("idle", fmt.Sprintf("%d streams", b.Streams), Figures{
			"KiB/stream": (idle.memory - before.memory) / 1024 / float64(b.Streams), "CPU ms/stream": (opened.cpu - before.cpu) * 1000 / float64(b.Streams),
		})
	}
	return f.fault(0)
}

// fanout posts into one channel that all streams hear, ever faster.
func (b *run) fanout(ctx context.Context) error {
	f, _, err := b.fleet(ctx, b.Streams)
	if err != nil {
		return err
	}
	defer f.close()
	everyone := func(int64) (string, string) { return b.large, b.tokens[0] }
	// The lowest rate is that of a lively channel, the next ones look for the limit.
	rates := []float64{10, 20, 50, 100, 150, 200, 250, 300, 400, 600, 800}
	return b.ladder(ctx, f, "fan-out", fmt.Sprintf("to %d streams", b.Streams), rates, int64(b.Streams), 4, everyone)
}

// rooms posts into many small channels, ever faster.
func (b *run) rooms(ctx context.Context) error {
	f, _, err := b.fleet(ctx, len(b.small)*roomSize)
	if err != nil {
		return err
	}
	defer f.close()
	inTurn := func(n int64) (string, string) {
		room := int(n) % len(b.small)
		return b.small[room], b.tokens[room*roomSize]
	}
	rates := []float64{500, 1000, 2000, 3000, 4000, 6000, 8000, 10000}
	return b.ladder(ctx, f, "rooms", fmt.Sprintf("%d rooms of %d", len(b.small), roomSize), rates, roomSize, 16, inTurn)
}

// ladder posts at the first rate, whose latency is a figure by itself, and then climbs until the server does not
// keep up any more: twice in a row less than 95 % of the rate arrives.
func (b *run) ladder(ctx context.Context, f *fleet, name, what string, rates []float64, hearers int64, conns int, channel func(int64) (string, string)) error {
	var kept Figures
	for i, rate := range rates {
		var ok bool
		for try := 0; try < 2 && !ok; try++ {
			b.say("%s: %s, %g posts/s", name, what, rate)
			figures, sustained, err := b.steady(ctx, f, rate, hearers, conns, channel)
			if err != nil {
				return err
			}
			if ok = sustained; ok {
				kept = figures
			}
			if i == 0 {
				b.add(name, fmt.Sprintf("%s at %g posts/s", what, rate), figures)
				ok = true
				break
			}
		}
		if !ok {
			break
		}
	}
	if kept != nil {
		b.add(name, what+", the most that was kept up with", kept)
	}
	return nil
}

// steady posts at a fixed rate while all streams listen.
func (b *run) steady(ctx context.Context, f *fleet, rate float64, hearers int64, conns int, channel func(int64) (string, string)) (Figures, bool, error) {
	f.begin()
	before := b.target.usage(ctx)
	start := time.Now()
	p, err := b.post(ctx, load{conns: conns, rate: rate, last: b.Duration, channel: channel})
	if err != nil {
		return nil, false, err
	}
	want := p.acked * hearers
	f.await(ctx, want)
	took := max(time.Since(start), b.Duration) // the last post comes before the end
	after := b.target.usage(ctx)
	if err := f.fault(want); err != nil {
		return nil, false, err
	}
	figures := Figures{
		"posts/s": float64(p.acked) / took.Seconds(), "deliveries/s": float64(want) / took.Seconds(),
		"p50 ms": ms(f.latency.quantile(0.5)), "p99 ms": ms(f.latency.quantile(0.99)),
		"post p50 ms": ms(p.latency.quantile(0.5)), "post p99 ms": ms(p.latency.quantile(0.99)),
	}
	if after.known {
		figures["CPU us/delivery"] = (after.cpu - before.cpu) * 1e6 / float64(want)
	}
	return figures, float64(p.acked) >= 0.95*rate*took.Seconds() && f.latency.quantile(0.99) < time.Second, nil
}

// publish posts as fast as it is answered, with nobody there to hear.
func (b *run) publish(ctx context.Context) error {
	for _, conns := range []int{1, 16} {
		b.say("publish: %d connections", conns)
		p, err := b.post(ctx, load{conns: conns, last: b.Duration, channel: func(int64) (string, string) { return b.large, b.tokens[0] }})
		if err != nil {
			return err
		}
		b.add("publish", fmt.Sprintf("durably, connections: %d", conns), Figures{
			"posts/s": float64(p.acked) / p.took.Seconds(), "post p50 ms": ms(p.latency.quantile(0.5)), "post p99 ms": ms(p.latency.quantile(0.99)),
		})
	}
	return nil
}

// resume has a stream miss messages and come back for them.
func (b *run) resume(ctx context.Context) error {
	f, _, err := b.fleet(ctx, 1)
	if err != nil {
		return err
	}
	defer func() { f.close() }()
	f.close()
	b.say("resume: after %d missed messages", b.Missed)
	p, err := b.post(ctx, load{conns: 16, count: int64(b.Missed), channel: func(int64) (string, string) { return b.large, b.tokens[0] }})
	if err != nil {
		return err
	}
	start := time.Now()
	if err := f.streams[0].open(ctx, b.URL); err != nil {
		return err
	}
	f.await(ctx, p.acked)
	took := time.Since(start)
	b.add("resume", fmt.Sprintf("after %d missed messages", b.Missed), Figures{"s": took.Seconds(), "events/s": float64(p.acked) / took.Seconds()})
	return f.fault(p.acked)
}

// fault is what the streams found wrong, having heard want messages.
func (f *fleet) fault(want int64) error {
	lost := want - f.received.Load()
	if want == 0 {
		lost = 0
	}
	if doubled, dropped := f.doubled.Load(), f.dropped.Load(); lost != 0 || doubled != 0 || dropped != 0 {
		return fmt.Errorf("%d messages were lost, %d came twice or out of order, %d streams ended", lost, doubled, dropped)
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
