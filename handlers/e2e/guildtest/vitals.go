package guildtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Vitals are resources of a server's process.
type Vitals struct {
	Files, Threads int
	Memory, Peak   int // resident memory in MiB
}

// vitalFields matches the fields of /proc/PID/status that Vitals reads.
var vitalFields = regexp.MustCompile(`(?m)^(Threads|VmRSS|VmHWM):\s+(\d+)`)

// Vitals returns the resources of the server. The server must run.
func (n *Node) Vitals() (v Vitals) {
	n.t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.Pid()))
	if err != nil {
		n.t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.Pid()))
	if err != nil {
		n.t.Fatal(err)
	}
	v.Files = len(files)
	for _, m := range vitalFields.FindAllStringSubmatch(string(status), -1) {
		value, _ := strconv.Atoi(m[2])
		switch m[1] {
		case "Threads":
			v.Threads = value
		case "VmRSS":
			v.Memory = value >> 10
		case "VmHWM":
			v.Peak = value >> 10
		}
	}
	return v
}

// Metric returns the value of a metric without labels from /metrics.
func (n *Node) Metric(name string) float64 {
	n.t.Helper()
	answer, err := client.Get(n.Base() + "/metrics")
	if err != nil {
		n.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				n.t.Fatal(err)
			}
			return v
		}
	}
	n.t.Fatalf("got no %s from /metrics, want one", name)
	return 0
}

// Connections returns the TCP connections that the server has not closed, by the client's port.
func (n *Node) Connections() map[int]bool {
	n.t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		n.t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(n.Addr())
	number, _ := strconv.Atoi(port)
	// The fields are sl, local_address, rem_address and st. State 01 is established. In state 08 only the
	// peer has closed.
	mine := regexp.MustCompile(
		fmt.Sprintf(`(?m)^ *\d+: [0-9A-F]{8}:%04X [0-9A-F]{8}:([0-9A-F]{4}) (?:01|08) `, number),
	)
	open := map[int]bool{}
	for _, m := range mine.FindAllSubmatch(table, -1) {
		client, _ := strconv.ParseInt(string(m[1]), 16, 32)
		open[int(client)] = true
	}
	return open
}

var createdBy = regexp.MustCompile(`(?m)^created by (.*) in goroutine`)

// AwaitGoroutines blocks until the server has at most this number of goroutines, at most for Recovery. After
// that time the test fails. Then AwaitGoroutines ends the server with a dump, and reports which functions
// started the goroutines.
func (n *Node) AwaitGoroutines(most int) {
	n.t.Helper()
	deadline := time.Now().Add(Recovery)
	for n.Metric("go_goroutines") > float64(most) {
		if time.Now().Before(deadline) {
			<-time.After(20 * time.Millisecond)
			continue
		}
		n.Signal(syscall.SIGQUIT)
		n.AwaitExit(2)
		_, dump, _ := strings.Cut(n.Log(), dumpBegins)
		var all []string
		for _, m := range createdBy.FindAllStringSubmatch(dump, -1) {
			all = append(all, m[1])
		}
		slices.Sort(all)
		n.t.Errorf("got %d goroutines, want at most %d; these functions started them:\n%s",
			len(all), most, strings.Join(all, "\n"))
		return
	}
}

const dumpBegins = "\nSIGQUIT: quit\n"

// Ready is the answer of /readyz of a ready server.
const Ready = "ready"

// Readiness returns the answer of /readyz: Ready, or the code that says why the server is not ready. /readyz
// must answer within half a minute, even if nothing else answers. If it does not, Readiness returns the text
// of the error.
func (n *Node) Readiness() string {
	ctx, cancel := context.WithTimeout(n.t.Context(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.Base()+"/readyz", nil)
	if err != nil {
		return err.Error()
	}
	answer, err := client.Do(r)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	var said struct{ Status, Code any }
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil {
		return err.Error()
	}
	if answer.StatusCode == http.StatusOK {
		return fmt.Sprint(said.Status)
	}
	return fmt.Sprint(said.Code)
}

// WatchReadiness calls /readyz regularly until stop. stop returns all different answers in the order of their
// first occurrence.
func (n *Node) WatchReadiness() (stop func() []string) {
	said := []string{n.Readiness()}
	end := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-time.After(50 * time.Millisecond):
			case <-end:
				return
			}
			if s := n.Readiness(); !slices.Contains(said, s) {
				said = append(said, s)
			}
		}
	})
	return func() []string {
		close(end)
		watching.Wait()
		return said
	}
}
