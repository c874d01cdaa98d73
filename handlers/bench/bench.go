// Package bench is a load test of a running server, as its users see it: what it takes to hold streams, how
// fast messages reach them, how many it keeps up with, and what it costs to come back. Every stream checks what
// it gets: a figure of a server that loses or doubles events is no figure.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Config is what a run goes by.
type Config struct {
	URL       string        // of the server, with its base path
	Streams   int           // how many are held, each of a user of its own
	Duration  time.Duration // of each step at a fixed rate
	Missed    int           // messages that a stream is to catch up with
	Scenarios []string      // of Scenarios; empty: all
	Token     func(user string) (string, error)
}

// Scenarios are what can be measured, in the order in which it is.
var Scenarios = []string{"connect", "fanout", "rooms", "publish", "resume"}

// guild is where the channels of a run are; they are archived at its end.
const guild = "fabric-guild-bench"

// Run measures, with a line about it for people before each step, and returns what it found. It leaves archived
// channels behind, and messages in them.
func Run(ctx context.Context, c Config, progress io.Writer) (Report, error) {
	b := &run{Config: c, target: newTarget(c.URL), progress: progress}
	defer b.target.close()
	wanted := c.Scenarios
	if len(wanted) == 0 {
		wanted = Scenarios
	}
	defer b.archive() // also what a run that ended early has made
	if err := b.prepare(ctx, wanted); err != nil {
		return Report{}, err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{{"connect", b.connect}, {"fanout", b.fanout}, {"rooms", b.rooms}, {"publish", b.publish}, {"resume", b.resume}} {
		if !slices.Contains(wanted, step.name) {
			continue
		}
		if err := step.do(ctx); err != nil {
			return b.report, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return b.report, nil
}

// A run is under way.
type run struct {
	Config
	target   *target
	progress io.Writer
	report   Report

	tokens []string // of the users, in order
	large  string   // the channel that all are in
	small  []string // rooms of roomSize: user i is in room i/roomSize
}

const roomSize = 5

func (b *run) say(format string, args ...any) { _, _ = fmt.Fprintf(b.progress, format+"\n", args...) }

// user is the i-th one, for whom there is a token.
func user(i int) string { return fmt.Sprintf("bench-%d", i) }

// prepare makes the users' tokens, and the channels that the wanted scenarios need.
func (b *run) prepare(ctx context.Context, wanted []string) error {
	b.say("preparing %d users and their channels", b.Streams)
	for i := range b.Streams {
		token, err := b.Token(user(i))
		if err != nil {
			return err
		}
		b.tokens = append(b.tokens, token)
	}
	members := make([]string, b.Streams-1)
	for i := range members {
		members[i] = user(i + 1)
	}
	if slices.ContainsFunc(wanted, func(s string) bool { return s != "connect" && s != "rooms" }) {
		var err error
		if b.large, err = b.target.createChannel(ctx, b.tokens[0], "everyone", members); err != nil {
			return err
		}
	}
	if slices.Contains(wanted, "rooms") {
		for i := 0; i+roomSize <= b.Streams; i += roomSize {
			room, err := b.target.createChannel(ctx, b.tokens[i], fmt.Sprint("room ", len(b.small)), members[i:i+roomSize-1])
			if err != nil {
				return err
			}
			b.small = append(b.small, room)
		}
	}
	return nil
}

// archive takes the channels out of everybody's lists.
func (b *run) archive() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if b.large != "" {
		_ = b.target.archive(ctx, b.tokens[0], b.large)
	}
	for i, room := range b.small {
		if b.target.archive(ctx, b.tokens[i*roomSize], room) != nil {
			return
		}
	}
}

// maxMembers is how many a channel is created with; the others join (DESIGN of the wire: 1,000 at most).
const maxMembers = 1000

// A problem is an error that the server answers.
type problem struct {
	Status int
	Code   string
	Detail string
}

func (p *problem) Error() string {
	hint := ""
	switch p.Code {
	case "rate_limited":
		hint = "; a load test posts as one user: start the server with -rate-limit 0"
	case "token_invalid":
		hint = "; is -state the server's state directory? With Center, pass -tokens"
	}
	return fmt.Sprintf("the server answers %d %s: %s%s", p.Status, p.Code, p.Detail, hint)
}

func asProblem(status int, body []byte) error {
	p := &problem{Status: status}
	if err := json.Unmarshal(body, p); err != nil || p.Code == "" {
		return fmt.Errorf("the answer is %d, and no problem: %.80q", status, body)
	}
	p.Status = status
	return p
}

var errShort = errors.New("there are fewer tokens in the file than streams")
