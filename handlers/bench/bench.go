// Package bench is a load test of a running server, seen from its users. It measures what streams cost, how
// fast messages reach them, how many messages the server keeps up with, and what a resume costs. Every
// stream checks the events that it gets. If the server loses or doubles events, the run fails: such figures
// would mean nothing.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// Config are the settings of a run.
type Config struct {
	URL       string        // the server's URL, with its base path
	Streams   int           // number of streams; each has its own user
	Duration  time.Duration // how long each step at a fixed rate lasts
	Missed    int           // number of messages that a stream must catch up with
	Scenarios []string      // a subset of Scenarios; empty means all
	// Token returns a token for a user. Run calls it once for each user, in order.
	Token func(user string) (string, error)
}

// Scenarios are the names of all scenarios, in the order in which they run.
var Scenarios = []string{"connect", "fanout", "rooms", "publish", "resume", "wakes"}

// benchGuild is the guild of the channels of a run.
const benchGuild = "fabric-guild-bench"

// Run runs the scenarios and returns the figures. It writes a line to progress before each step. It blocks
// until the run has ended or ctx ends. It archives its channels at the end, but the archived channels, their
// messages and the queues of the users remain. If a scenario fails, Run returns the figures so far and the
// error.
func Run(ctx context.Context, c Config, progress io.Writer) (Report, error) {
	b := &run{Config: c, target: newTarget(c.URL), progress: progress}
	defer b.target.close()
	wanted := c.Scenarios
	if len(wanted) == 0 {
		wanted = Scenarios
	}
	defer b.archive() // also after a run that failed
	if err := b.prepare(ctx, wanted); err != nil {
		return Report{}, err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"connect", b.connect},
		{"fanout", b.fanout},
		{"rooms", b.rooms},
		{"publish", b.publish},
		{"resume", b.resume},
		{"wakes", b.wakes},
	} {
		if !slices.Contains(wanted, step.name) {
			continue
		}
		if err := step.do(ctx); err != nil {
			return b.report, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return b.report, nil
}

// A run is the state of one call of Run.
type run struct {
	Config
	target   *target
	progress io.Writer
	report   Report

	tokens []string // tokens[i] is the token of benchUser(i)
	large  string   // the id of the channel that has all users as members
	small  []string // ids of channels with roomSize members; user i is in small[i/roomSize]

	mu   sync.Mutex
	made []owned // further channels
}

// An owned is a channel, and the token of its creator.
type owned struct{ channel, creator string }

// roomSize is the number of members of a small channel.
const roomSize = 5

func (b *run) say(format string, args ...any) { _, _ = fmt.Fprintf(b.progress, format+"\n", args...) }

// benchUser returns the id of the i-th user.
func benchUser(i int) string { return fmt.Sprintf("bench-%d", i) }

// prepare creates the users' tokens, and the channels that the wanted scenarios need.
func (b *run) prepare(ctx context.Context, wanted []string) error {
	b.say("preparing %d users and their channels", b.Streams)
	for i := range b.Streams {
		token, err := b.Token(benchUser(i))
		if err != nil {
			return err
		}
		b.tokens = append(b.tokens, token)
	}
	members := make([]string, b.Streams-1)
	for i := range members {
		members[i] = benchUser(i + 1)
	}
	if slices.ContainsFunc(wanted, func(s string) bool {
		return s != "connect" && s != "rooms" &&
			s != "wakes"
	}) {
		id, err := b.target.createChannel(ctx, b.tokens[0], "everyone", members)
		b.large = id
		if err != nil {
			return err
		}
	}
	if slices.Contains(wanted, "rooms") {
		for i := 0; i+roomSize <= b.Streams; i += roomSize {
			name := fmt.Sprint("room ", len(b.small))
			room, err := b.target.createChannel(ctx, b.tokens[i], name, members[i:i+roomSize-1])
			if err != nil {
				return err
			}
			b.small = append(b.small, room)
		}
	}
	return nil
}

// archive archives the channels, so that they disappear from everybody's lists. It gives up after 30 s or at
// the first error with a small channel.
func (b *run) archive() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if b.large != "" {
		_ = b.target.archive(ctx, b.tokens[0], b.large)
	}
	for _, c := range b.made {
		if b.target.archive(ctx, c.creator, c.channel) != nil {
			return
		}
	}
	for i, room := range b.small {
		if b.target.archive(ctx, b.tokens[i*roomSize], room) != nil {
			return
		}
	}
}

// maxMembers is the maximum number of members in a request that creates a channel. Further members are added
// one by one.
const maxMembers = 1000

// A problem is an error answer of the server.
type problem struct {
	Status int
	Code   string
	Detail string
}

func (p *problem) Error() string {
	hint := ""
	switch p.Code {
	case "rate_limited":
		hint = "; a load test posts as one user, so start the server with -rate-limit 0"
	case "token_invalid":
		hint = "; -state must be the server's state directory, or with Center pass -tokens"
	}
	return fmt.Sprintf("the server answered %d %s: %s%s", p.Status, p.Code, p.Detail, hint)
}

// asProblem returns the error for an error answer.
func asProblem(status int, body []byte) error {
	p := &problem{Status: status}
	if err := json.Unmarshal(body, p); err != nil || p.Code == "" {
		return fmt.Errorf("the server answered %d without problem+json: %.80q", status, body)
	}
	p.Status = status
	return p
}

var errShort = errors.New("the file has fewer tokens than there are streams")
