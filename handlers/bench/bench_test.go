package bench_test

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/bench"
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/guildtest"
)

var program guildtest.Program

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("skipped by -short")
		return
	}
	os.Exit(program.Main(m, config.EnvPrefix))
}

// smallRun returns the arguments of a short run.
func smallRun(state, url string, more ...string) []string {
	args := []string{
		"bench", "-state", state, "-url", url, "-streams", "20", "-duration", "200ms", "-missed", "100",
	}
	return append(args, more...)
}

func TestReportOfABenchmark(t *testing.T) {
	t.Parallel()
	state := guildtest.StateDir(t)
	n := program.Start(t, state, "-database-url", dbtest.New(t))
	args := smallRun(state, n.Base(), "-json", "-only", "connect,publish,resume")
	stdout, stderr, code := program.Run(t, nil, args...)
	if code != 0 {
		t.Fatalf("got exit %d: %s", code, stderr)
	}
	var report bench.Report
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatalf("got %q: %v", stdout, err)
	}
	got := map[string][]string{}
	for _, row := range report.Rows {
		for name, v := range row.Figures {
			if v <= 0 && row.Scenario != "idle" {
				t.Errorf("%s, %s: got %g %s, want more than 0", row.Scenario, row.What, v, name)
			}
		}
		got[row.Scenario] = append(got[row.Scenario], row.What)
	}
	delete(got, "idle") // only there if /metrics can be read
	want := map[string][]string{
		"connect": {"20 streams, each with its snapshot"},
		"publish": {"durably, connections: 1", "durably, connections: 16"},
		"resume":  {"after 100 missed messages"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the rows (-want +got):\n%s", diff)
	}
	for _, step := range []string{"connect", "publish", "resume"} {
		if !strings.Contains(stderr, step) {
			t.Errorf("got %q, want progress about %s", stderr, step)
		}
	}
	stdout, _, code = program.Run(t, nil, smallRun(state, n.Base(), "-only", "publish")...)
	table := regexp.MustCompile(
		`^publish +durably, connections: 1 +\S+ posts/s, post p50 \S+ ms, post p99 \S+ ms\npublish .*\n$`,
	)
	if code != 0 || !table.MatchString(stdout) {
		t.Errorf("got exit %d and %q, want a table that matches %s", code, stdout, table)
	}
}

// The wake queue is measured with as many agents and channels as the users allow.
func TestReportOfWakes(t *testing.T) {
	t.Parallel()
	state := guildtest.StateDir(t)
	n := program.Start(t, state, "-database-url", dbtest.New(t))
	stdout, stderr, code := program.Run(t, nil, "bench", "-state", state, "-url", n.Base(), "-streams", "40",
		"-duration", "200ms", "-only", "wakes", "-json")
	var report bench.Report
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != 0 {
		t.Fatalf("got exit %d, %v and %s", code, err, stderr)
	}
	got := map[string]bench.Figures{}
	for _, row := range report.Rows {
		got[row.What] = row.Figures
	}
	for what, figures := range map[string][]string{
		"from a post to the answer of a claim that waits": {"claim p50 ms", "stream p50 ms", "claim/stream"},
		"a reply with wakeId, connections: 1":             {"reply p50 ms", "post p50 ms", "reply/post"},
		"post, claim, reply; agents: 1":                   {"cycles/s", "p50 ms"},
		"post, claim, reply; agents: 16":                  {"cycles/s", "posts/s", "cycle/post"},
		"a claim with one new message, channels: 50":      {"claim p50 ms"},
	} {
		for _, name := range figures {
			if got[what][name] <= 0 {
				t.Errorf("%s: got %g %s, want more than 0", what, got[what][name], name)
			}
		}
	}
	if _, ok := got["20 claims that wait"]; !ok || len(got) != 6 {
		t.Errorf("got the rows %v", got)
	}
}

// A benchmark fails if the server loses or doubles events. Here a proxy does that.
func TestABenchmarkNoticesFaults(t *testing.T) {
	t.Parallel()
	state := guildtest.StateDir(t)
	n := program.Start(t, state, "-database-url", dbtest.New(t))
	for fault, want := range map[string]string{
		"none":   "",
		"lose":   "1 messages were lost",
		"double": "1 came twice",
		"end":    "1 streams ended",
	} {
		liar := httptest.NewServer(faulty(n.Base(), fault))
		defer liar.Close()
		stdout, stderr, code := program.Run(t, nil, smallRun(state, liar.URL, "-only", "rooms", "-json")...)
		if (code == 0) != (want == "") || !strings.Contains(stderr, want) {
			t.Errorf("%s: got exit %d, %q and %q; want %q", fault, code, stdout, stderr, want)
		}
	}
}

// faulty is a proxy that applies the fault to one frame of one stream, and passes on everything else.
func faulty(to, fault string) http.HandlerFunc {
	var done atomic.Bool
	return func(w http.ResponseWriter, r *http.Request) {
		out := r.Clone(r.Context())
		out.RequestURI = ""
		u, err := r.URL.Parse(to + r.URL.RequestURI())
		if err != nil {
			panic(err)
		}
		out.URL = u
		out.Host = ""
		answer, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer func() { _ = answer.Body.Close() }()
		w.WriteHeader(answer.StatusCode)
		in := bufio.NewReader(answer.Body)
		for {
			frame, err := readFrame(in)
			isMessage := strings.Contains(frame, "event: message.created")
			if isMessage && fault != "none" && done.CompareAndSwap(false, true) {
				switch fault {
				case "lose":
					continue
				case "double":
					frame += "event: message.updated\ndata: {}\nid: 1.1\n\n"
				case "end":
					return
				}
			}
			if _, e := io.WriteString(w, frame); e != nil || err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// readFrame reads a frame up to and including its empty line. On an error it returns what it has read.
func readFrame(in *bufio.Reader) (frame string, err error) {
	for {
		line, err := in.ReadString('\n')
		frame += line
		if err != nil || line == "\n" {
			return frame, err
		}
	}
}

func TestBenchmarksCommandLine(t *testing.T) {
	t.Parallel()
	state := guildtest.StateDir(t)
	for _, tt := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{
			"no server", smallRun(state, "http://127.0.0.1:1"), 1,
			"no server at http://127.0.0.1:1 (start one, or choose another with -url)",
		},
		{"no key", smallRun("/nowhere", "http://127.0.0.1:1"), 1, "pass the server's -state, or -tokens"},
		{
			"unknown scenario", smallRun(state, "http://127.0.0.1:1", "-only", "miracles"), 2,
			"-only takes connect",
		},
		{"too few streams", smallRun(state, "http://127.0.0.1:1", "-streams", "1"), 2, "5 streams"},
	} {
		_, stderr, code := program.Run(t, nil, tt.args...)
		if code != tt.code || !strings.Contains(stderr, tt.want) || !guildtest.IsOneLine(stderr) {
			t.Errorf("%s: got exit %d and %q, want exit %d and one line with %q",
				tt.name, code, stderr, tt.code, tt.want)
		}
	}
}
