package fairtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/center/centertest"
	"fabric-guild/handlers/e2e/guildtest"
)

// The users. mallory attacks. bob posts and listens.
const (
	mallory = "mallory"
	bob     = "bob"
)

// patience is how long the second user waits for one step. A step that takes longer has failed.
const patience = 10 * time.Second

// An attack is one way in which a user may disturb others as much as possible.
type attack struct {
	name   string
	args   []string // of the server
	files  int      // the server's limit of open files; 0: the limit of the tests
	center bool     // Center checks the tokens, and answers slowly
	// prepare makes everything that the attack needs. It is not measured.
	prepare func(s *scene)
	// restart restarts the server after prepare, so that its memory is empty.
	restart bool
	// run attacks until ctx ends. It counts its requests with ask.
	run func(ctx context.Context, s *attacker)
}

// A scene is a server with both users.
type scene struct {
	*testing.T
	n         *guildtest.Node
	*attacker        // prepares the attack
	url       string // of the database
	fake      *centertest.Server
	report    report // of all attacks so far
}

// measure runs an attack and its control, and returns the results. In the small run it checks them.
func measure(t *testing.T, a attack) row {
	t.Helper()
	s := &scene{T: t, url: dbtest.New(t)}
	s.attacker = newAttacker(order{Attack: a.name, Tokens: map[string]string{}})
	defer s.web.CloseIdleConnections()
	s.launch(a)
	home := s.create(bob, map[string]any{})
	s.Channel, s.Start = s.createAt(mallory, map[string]any{"history": "all"})
	if a.prepare != nil {
		a.prepare(s)
	}
	if a.restart {
		s.n.Stop()
		s.launch(a)
	}

	r := row{name: a.name}
	stop := s.watchMemory(&r.memory)
	defer stop()
	b := s.listen(home)
	defer b.cancel()
	s.phase(b, 200*time.Millisecond, nil) // warm up
	rounds := 1
	length := 300 * time.Millisecond
	if *full {
		rounds = 2
		length = *phase
	}
	for range rounds {
		before := s.report.Requests
		attack := s.order
		r.attacked.add(s.phase(b, length, &attack))
		control := s.order
		control.Cheap = max(1, s.report.Requests-before)
		control.Length = length
		r.requests += control.Cheap
		r.control.add(s.phase(b, length, &control))
	}
	stop()
	r.answers = s.report.Answers
	if *full {
		return r
	}
	if r.attacked.failed > 0 || len(r.attacked.post) == 0 {
		t.Errorf("got %d failures and %d posts of the second user, want all to succeed and arrive",
			r.attacked.failed, len(r.attacked.post))
	}
	if r.memory > most {
		t.Errorf("got %d MiB, want at most %d", r.memory, most)
	}
	if s.report.Bare != "" {
		t.Errorf("got a refusal without a code: %s", s.report.Bare)
	}
	return r
}

// launch starts the server with the default settings, except for the log level.
func (s *scene) launch(a attack) {
	s.Helper()
	state := guildtest.StateDir(s)
	args := append([]string{"-database-url", s.url, "-log-level", "error", "-rate-limit", "100"}, a.args...)
	if a.center {
		s.fake = centertest.New(s)
		s.fake.Break(func(_ http.ResponseWriter, r *http.Request) bool {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-r.Context().Done():
			}
			return true
		}, centertest.Introspect)
		args = append(args, "-center-base-url", s.fake.URL, "-center-api-key", s.fake.APIKey)
	}
	if a.files > 0 {
		limit := fmt.Sprintf(`ulimit -n %d && exec "$@"`, a.files)
		serve := []string{"-c", limit, "sh", program.Path, "-state", state, "-addr", "127.0.0.1:0"}
		args = append(serve, args...)
		s.n = program.Launch(s, state, nil, exec.Command("sh", args...))
	} else {
		s.n = program.Start(s, state, args...)
	}
	s.Base = s.n.Base()
	s.Addr = s.n.Addr()
	users := []string{mallory, bob, "target"}
	if a.center {
		for _, u := range users {
			s.Tokens[u] = "a-token-of-" + u
			s.fake.SetToken(s.Tokens[u], centertest.Token{UserID: u})
		}
		return
	}
	for i, token := range s.n.Tokens(users...) {
		s.Tokens[users[i]] = token
	}
}

// create makes a channel and returns its id.
func (s *scene) create(user string, body map[string]any) string {
	s.Helper()
	id, _ := s.createAt(user, body)
	return id
}

func (s *scene) createAt(user string, body map[string]any) (id, cursor string) {
	s.Helper()
	body["guildId"] = "g1"
	if body["name"] == nil {
		body["name"] = "channel"
	}
	if body["xType"] == nil {
		body["xType"] = "general"
	}
	var made struct {
		Channel struct{ ID string }
		Cursor  string
	}
	url := s.Base + "/api/channels"
	status, err := guildtest.Call(s.Context(), http.MethodPost, url, s.Tokens[user], body, &made)
	if err != nil || status != http.StatusCreated {
		s.Fatalf("got %d and %v for a channel, want 201", status, err)
	}
	return made.Channel.ID, made.Cursor
}

// post adds messages to mallory's channel.
func (s *scene) post(messages int, content string) {
	s.Helper()
	for range messages {
		var posted struct{ Message struct{ ID string } }
		url := s.Base + "/api/channels/" + s.Channel + "/messages"
		body := map[string]any{"content": content}
		status, err := guildtest.Call(s.Context(), http.MethodPost, url, s.Tokens[mallory], body, &posted)
		if err != nil || status != http.StatusCreated {
			s.Fatalf("got %d and %v for a post, want 201", status, err)
		}
		s.Messages = append(s.Messages, posted.Message.ID)
	}
}

var resident = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+)`)

// watchMemory sets most to the server's peak memory in MiB, until stop.
func (s *scene) watchMemory(most *int) (stop func()) {
	end := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.n.Pid()))
			if m := resident.FindSubmatch(status); m != nil {
				kib, _ := strconv.Atoi(string(m[1]))
				*most = max(*most, kib>>10)
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-end:
				return
			}
		}
	})
	return sync.OnceFunc(func() {
		close(end)
		watching.Wait()
	})
}

// A listener is bob's stream.
type listener struct {
	s       *scene
	channel string
	heard   chan string
	web     *http.Client
	cancel  context.CancelFunc
}

// listen opens a stream on which bob gets his own messages. It blocks until the stream is ready.
func (s *scene) listen(channel string) *listener {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	b := &listener{s: s, channel: channel, heard: make(chan string, 10000), cancel: cancel}
	b.web = &http.Client{Transport: &http.Transport{}}
	ready := make(chan struct{})
	go func() {
		first := sync.OnceFunc(func() { close(ready) })
		for ctx.Err() == nil { // reconnect after any error
			_ = b.stream(ctx, s.Tokens[bob], func(line string) bool {
				first()
				if _, rest, ok := strings.Cut(line, `"content":"number `); ok {
					number, _, _ := strings.Cut(rest, `"`)
					b.heard <- number
				}
				return true
			})
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	select {
	case <-ready:
	case <-time.After(guildtest.Patience):
		s.Fatal("the second user got no stream")
	}
	return b
}

// stream opens a stream and reads it until more returns false.
func (b *listener) stream(ctx context.Context, token string, more func(line string) bool) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.s.Base+"/api/stream?echo=true", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Close = true
	answer, err := b.web.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("got %d for a stream, want 200", answer.StatusCode)
	}
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "data: ") && !more(lines.Text()) {
			return nil
		}
	}
	return errors.Join(lines.Err(), io.EOF)
}

// phase lets bob post, listen and reconnect while an attacker carries out an order. It returns how long bob
// waited.
func (s *scene) phase(b *listener, length time.Duration, o *order) (got times) {
	s.Helper()
	end := func() {}
	if o != nil {
		end = s.give(*o)
	}
	ctx, cancel := context.WithTimeout(s.Context(), length)
	defer cancel()
	const least = 5
	const each = 150 * time.Millisecond // bob may open 10 streams per second
	var opened time.Time
	for ctx.Err() == nil || len(got.post)+got.failed < least {
		if time.Since(opened) >= each {
			opened = time.Now()
			b.connect(&got)
		}
		b.post(&got)
		<-time.After(10 * time.Millisecond)
		if got.failed >= least {
			break // the server hangs, so more posts would only take time
		}
	}
	end()
	s.settle(b)
	return got
}

// settle blocks until bob's posts are fast again, at most for patience.
func (s *scene) settle(b *listener) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		var got times
		b.post(&got)
		if quick := 50 * time.Millisecond; got.failed == 0 && got.delivery[0] < quick {
			return
		}
	}
}

// post posts a message as bob and waits until it arrives on his stream.
func (b *listener) post(got *times) {
	number := strconv.FormatInt(b.s.fresh.Add(1), 10)
	ctx, cancel := context.WithTimeout(b.s.Context(), patience)
	defer cancel()
	body := strings.NewReader(`{"content":"number ` + number + `"}`)
	url := b.s.Base + "/api/channels/" + b.channel + "/messages"
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		b.s.Error(err)
		return
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+b.s.Tokens[bob])
	began := time.Now()
	answer, err := b.web.Do(r)
	if err != nil {
		got.failed++
		return
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusCreated {
		got.failed++
		return
	}
	took := time.Since(began)
	for {
		select {
		case heard := <-b.heard:
			if heard == number {
				got.post = append(got.post, took)
				got.delivery = append(got.delivery, time.Since(began))
				return
			}
		case <-ctx.Done():
			got.failed++
			return
		}
	}
}

// connect opens a stream as a new client of bob, on a new connection. With Center it uses a new token.
func (b *listener) connect(got *times) {
	token := b.s.Tokens[bob]
	if b.s.fake != nil {
		token = fmt.Sprintf("another-token-of-bob-%d", b.s.fresh.Add(1))
		b.s.fake.SetToken(token, centertest.Token{UserID: bob})
	}
	ctx, cancel := context.WithTimeout(b.s.Context(), patience)
	defer cancel()
	began := time.Now()
	if err := b.stream(ctx, token, func(string) bool { return false }); err != nil {
		got.failed++
		return
	}
	got.connect = append(got.connect, time.Since(began))
}
