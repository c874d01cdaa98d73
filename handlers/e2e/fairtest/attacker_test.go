package fairtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fabric-guild/handlers/e2e/guildtest"
)

// An order has everything that an attacker needs.
type order struct {
	Attack   string        // name of the attack
	Cheap    int           // if not 0: send this number of cheap requests instead of the attack
	Length   time.Duration // of the cheap requests
	Base     string        // the server's URL
	Addr     string
	Tokens   map[string]string
	Channel  string   // mallory's channel, of which bob is no member
	Messages []string // in the channel
	Start    string   // a cursor before the attack was prepared
}

// A report is the result of an attacker.
type report struct {
	Requests int
	Answers  map[string]int // by status and code
	Bare     string         // a refusal without a code
}

// An attacker sends requests as mallory.
type attacker struct {
	order

	web      *http.Client // from another address than bob's
	requests atomic.Int64
	fresh    atomic.Int64 // source of unused numbers

	mu      sync.Mutex
	answers map[string]int
	bare    string
}

// away dials from another address than bob's, so that limits by address do not affect bob.
var away = &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: patience}

func newAttacker(o order) *attacker {
	transport := &http.Transport{DialContext: away.DialContext, MaxIdleConnsPerHost: 300}
	a := &attacker{order: o, answers: map[string]int{}}
	a.web = &http.Client{Timeout: 2 * patience, Transport: transport}
	a.fresh.Store(time.Now().UnixNano())
	return a
}

// attackerEnv is an environment variable that turns the test binary into an attacker.
const attackerEnv = "FAIRTEST_ATTACKER"

// obey reads an order from stdin, carries it out until the end of stdin, and writes a report to stdout.
func obey() error {
	in := json.NewDecoder(os.Stdin)
	_, _ = fmt.Println("ready")
	var o order
	if err := in.Decode(&o); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	a := newAttacker(o)
	if o.Cheap > 0 {
		a.cheap(ctx)
	} else {
		i := slices.IndexFunc(attacks, func(x attack) bool { return x.name == o.Attack })
		attacks[i].run(ctx, a)
	}
	<-ctx.Done()
	a.mu.Lock()
	defer a.mu.Unlock()
	return json.NewEncoder(os.Stdout).Encode(report{int(a.requests.Load()), a.answers, a.bare})
}

// give starts an attacker, which runs until end. The attacker is a process with the lowest priority, because
// a real attacker uses another machine.
func (s *scene) give(o order) (end func()) {
	s.Helper()
	self, err := os.Executable()
	if err != nil {
		s.Fatal(err)
	}
	cmd := exec.CommandContext(s.Context(), "nice", "-n", "19", self, fmt.Sprintf("-fair=%t", *full))
	cmd.Env = append(os.Environ(), attackerEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		s.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if _, err := lines.ReadString('\n'); err != nil {
		s.Fatal(err)
	}
	if err := json.NewEncoder(in).Encode(o); err != nil {
		s.Fatal(err)
	}
	return func() {
		s.Helper()
		_ = in.Close()
		kill := time.AfterFunc(guildtest.Patience, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		var said report
		err := json.NewDecoder(lines).Decode(&said)
		if err := errors.Join(err, cmd.Wait()); err != nil {
			s.Fatalf("the attacker: %v", err)
		}
		if o.Cheap > 0 {
			return
		}
		s.report.Requests += said.Requests
		if s.report.Bare == "" {
			s.report.Bare = said.Bare
		}
		if s.report.Answers == nil {
			s.report.Answers = map[string]int{}
		}
		for code, n := range said.Answers {
			s.report.Answers[code] += n
		}
	}
}

// ask sends a request as mallory, reads the answer, and counts both.
func (s *attacker) ask(ctx context.Context, method, path string, body any) {
	s.askAs(ctx, s.Tokens[mallory], method, path, body)
}

// askAs is like ask, but with another token.
func (s *attacker) askAs(ctx context.Context, token, method, path string, body any) {
	text, ok := body.([]byte)
	if !ok && body != nil {
		text, _ = json.Marshal(body)
	}
	r, err := http.NewRequestWithContext(ctx, method, s.Base+path, bytes.NewReader(text))
	if err != nil {
		s.count(err.Error(), nil)
		return
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := s.web.Do(r)
	s.requests.Add(1)
	if err != nil {
		if ctx.Err() == nil {
			s.count("no answer", nil)
			<-time.After(time.Millisecond)
		}
		return
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode < 300 {
		s.count(strconv.Itoa(answer.StatusCode), nil)
		_, _ = io.Copy(io.Discard, answer.Body)
		return
	}
	b, err := io.ReadAll(answer.Body)
	if err == nil {
		s.count(strconv.Itoa(answer.StatusCode), b)
	}
}

// count counts an answer by its status, and a refusal by its status and code.
func (s *attacker) count(what string, refusal []byte) {
	var said struct{ Code string }
	_ = json.Unmarshal(refusal, &said)
	s.mu.Lock()
	defer s.mu.Unlock()
	if refusal != nil && said.Code == "" {
		s.bare = fmt.Sprintf("%s %.200s", what, refusal)
	}
	s.answers[strings.TrimSpace(what+" "+said.Code)]++
}

// loops runs do again and again in this number of goroutines, and blocks until ctx ends.
func loops(ctx context.Context, atOnce int, do func(i int)) {
	var all sync.WaitGroup
	for i := range atOnce {
		all.Go(func() {
			for ctx.Err() == nil {
				do(i)
			}
		})
	}
	all.Wait()
}

// cheap is the control. It sends as many requests as the attack, in the same time, but each request costs
// almost nothing.
func (s *attacker) cheap(ctx context.Context) {
	requests := s.Cheap
	length := s.Length
	var next atomic.Int64
	began := time.Now()
	loops(ctx, 16, func(int) {
		i := next.Add(1)
		if i > int64(requests) {
			<-ctx.Done()
			return
		}
		due := began.Add(length * time.Duration(i) / time.Duration(requests))
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
			return
		}
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, s.Base+"/api/me", nil)
		r.Header.Set("Authorization", "Bearer "+s.Tokens[mallory])
		if answer, err := s.web.Do(r); err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
		}
	})
}
