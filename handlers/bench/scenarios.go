package bench

import (
	"context"
	"fmt"
	"time"
)

// connect opens all streams and keeps them idle.
func (b *run) connect(ctx context.Context) error {
	b.say("connect: %d streams", b.Streams)
	before := b.target.usage(ctx)
	f, took, err := b.fleet(ctx, b.Streams)
	if err != nil {
		return err
	}
	defer f.close()
	opened := b.target.usage(ctx)
	pause(ctx, 3*time.Second) // the server frees the memory that it needed for opening
	idle := b.target.usage(ctx)
	b.add("connect", fmt.Sprintf("%d streams, each with its snapshot", b.Streams), Figures{
		"s": took.Seconds(), "streams/s": float64(b.Streams) / took.Seconds(),
	})
	if idle.known {
		b.add("idle", fmt.Sprintf("%d streams", b.Streams), Figures{
			"KiB/stream":    (idle.memory - before.memory) / 1024 / float64(b.Streams),
			"CPU ms/stream": (opened.cpu - before.cpu) * 1000 / float64(b.Streams),
		})
	}
	return f.fault(0)
}

// fanout posts into one channel that all streams hear, at increasing rates.
func (b *run) fanout(ctx context.Context) error {
	f, _, err := b.fleet(ctx, b.Streams)
	if err != nil {
		return err
	}
	defer f.close()
	// The lowest rate is that of a busy channel. The higher rates look for the limit.
	rates := []float64{10, 20, 50, 100, 150, 200, 250, 300, 400, 600, 800}
	return b.climb(ctx, f, ladder{
		scenario: "fan-out", what: fmt.Sprintf("to %d streams", b.Streams),
		rates: rates, hearers: int64(b.Streams), conns: 4, channel: b.inLarge,
	})
}

// rooms posts into many small channels, at increasing rates.
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
	return b.climb(ctx, f, ladder{
		scenario: "rooms", what: fmt.Sprintf("%d rooms of %d", len(b.small), roomSize),
		rates: rates, hearers: roomSize, conns: 16, channel: inTurn,
	})
}

// A ladder says how to post at increasing rates.
type ladder struct {
	scenario, what string
	rates          []float64 // posts per second, increasing
	hearers        int64     // number of streams that hear each post
	conns          int       // number of connections that post
	channel        func(n int64) (channel, token string)
}

// inLarge posts every message into the large channel, as its creator.
func (b *run) inLarge(int64) (channel, token string) { return b.large, b.tokens[0] }

// climb posts at the first rate, whose latency is reported separately. Then it raises the rate until the
// server does not keep up: until less than 95 % of the rate arrives twice in a row. It reports the highest
// rate that the server kept up with.
func (b *run) climb(ctx context.Context, f *fleet, l ladder) error {
	var kept Figures
	for i, rate := range l.rates {
		goOn := false
		for try := 0; try < 2 && !goOn; try++ {
			b.say("%s: %s, %g posts/s", l.scenario, l.what, rate)
			figures, sustained, err := b.steady(ctx, f, rate, l)
			if err != nil {
				return err
			}
			goOn = sustained
			if sustained {
				kept = figures
			}
			if i == 0 {
				b.add(l.scenario, fmt.Sprintf("%s at %g posts/s", l.what, rate), figures)
				goOn = true
			}
		}
		if !goOn {
			break
		}
	}
	if kept != nil {
		b.add(l.scenario, l.what+", highest rate kept up with", kept)
	}
	return nil
}

// steady posts at a fixed rate while all streams listen. It returns the figures, and whether the server kept
// up.
func (b *run) steady(ctx context.Context, f *fleet, rate float64, l ladder) (Figures, bool, error) {
	f.begin()
	before := b.target.usage(ctx)
	start := time.Now()
	p, err := b.post(ctx, load{conns: l.conns, rate: rate, last: b.Duration, channel: l.channel})
	if err != nil {
		return nil, false, err
	}
	want := p.acked * l.hearers
	f.await(ctx, want)
	took := max(time.Since(start), b.Duration) // the last post is due before the end of the step
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
	sustained := float64(p.acked) >= 0.95*rate*took.Seconds() && f.latency.quantile(0.99) < time.Second
	return figures, sustained, nil
}

// publish posts as fast as the server answers, without any stream.
func (b *run) publish(ctx context.Context) error {
	for _, conns := range []int{1, 16} {
		b.say("publish: %d connections", conns)
		p, err := b.post(ctx, load{conns: conns, last: b.Duration, channel: b.inLarge})
		if err != nil {
			return err
		}
		b.add("publish", fmt.Sprintf("durably, connections: %d", conns), Figures{
			"posts/s":     float64(p.acked) / p.took.Seconds(),
			"post p50 ms": ms(p.latency.quantile(0.5)),
			"post p99 ms": ms(p.latency.quantile(0.99)),
		})
	}
	return nil
}

// resume closes a stream, posts messages that the stream misses, and measures how fast it catches up.
func (b *run) resume(ctx context.Context) error {
	f, _, err := b.fleet(ctx, 1)
	if err != nil {
		return err
	}
	defer func() { f.close() }()
	f.close()
	b.say("resume: after %d missed messages", b.Missed)
	p, err := b.post(ctx, load{conns: 16, count: int64(b.Missed), channel: b.inLarge})
	if err != nil {
		return err
	}
	start := time.Now()
	if err := f.streams[0].open(ctx, b.URL); err != nil {
		return err
	}
	f.await(ctx, p.acked)
	took := time.Since(start)
	b.add("resume", fmt.Sprintf("after %d missed messages", b.Missed), Figures{
		"s": took.Seconds(), "events/s": float64(p.acked) / took.Seconds(),
	})
	return f.fault(p.acked)
}

// fault returns an error if the streams did not get exactly want messages, got a message twice or out of
// order, or ended. If want is 0, it does not check the number of messages.
func (f *fleet) fault(want int64) error {
	lost := want - f.received.Load()
	if want == 0 {
		lost = 0
	}
	doubled := f.doubled.Load()
	dropped := f.dropped.Load()
	if lost != 0 || doubled != 0 || dropped != 0 {
		return fmt.Errorf("%d messages were lost, %d came twice or out of order, %d streams ended",
			lost, doubled, dropped)
	}
	return nil
}

// ms converts a duration to milliseconds.
func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
