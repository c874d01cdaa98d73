package streamtest_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/nodetest"
)

// lineEnds are all the characters at which Python's str.splitlines splits.
var lineEnds = strings.Split("\n\r\x0b\x0c\x1c\x1d\x1e\u0085\u2028\u2029", "")

// A reader that splits at every line end of Unicode takes each event whole, and goes on from its id.
func TestReadersThatSplitAtUnicodeLineEnds(t *testing.T) {
	dbtest.Long(t) // TestAnswersAreOneLine is fast
	t.Parallel()
	python := nodetest.Program(t, "python3", "python3")
	n := nodetest.Start(t, nodetest.Setup{})
	alice, bob := n.User("alice"), n.User("bob")
	begin := bob.General(t, "ops", "alice")
	var want []string
	for _, end := range append(lineEnds, strings.Join(lineEnds, "")) {
		want = append(want, fmt.Sprintf("before%safter %sid: 1.1%s\\%s", end, end, end, end))
	}
	for _, content := range want {
		bob.Post(t, begin.Channel.ID, content)
	}
	n.Settle(t)
	for _, accept := range []string{"text/event-stream", ndjson} {
		t.Run(accept, func(t *testing.T) {
			t.Parallel()
			var got []string
			last := begin.Cursor
			for len(got) < len(want) { // each connection takes four, and the next resumes
				contents, id := splits(t, alice, python, accept, last, min(4, len(want)-len(got)))
				got, last = append(got, contents...), id
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// splits reads the contents of the next messages after a cursor with testdata/clients/splitlines.py.
func splits(
	t *testing.T, u *nodetest.User, python, accept, after string, count int,
) (contents []string, last string) {
	t.Helper()
	cmd := exec.Command(python, "../../../testdata/clients/splitlines.py", u.Node.URL+"/api/stream",
		accept, after)
	cmd.Env = append(os.Environ(), "TOKEN="+u.Token)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(ssetest.Patience, func() { _ = cmd.Process.Kill() })
	defer func() {
		late.Stop()
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // says that it was killed
	}()
	for in := bufio.NewScanner(out); len(contents) < count; {
		if !in.Scan() {
			t.Fatalf("got %d messages and then the end (%v), want %d", len(contents), in.Err(), count)
		}
		var e struct {
			Event, ID string
			Data      struct{ Content string }
		}
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			t.Fatalf("%v in %q", err, in.Bytes())
		}
		if e.Event == "message.created" {
			contents, last = append(contents, e.Data.Content), e.ID
		}
	}
	return contents, last
}

// Every answer is one line to every reader: of a resource, of a list, of an error, and one that is kept for a
// key and that an edit has rewritten in the database.
func TestAnswersAreOneLine(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice := n.User("alice")
	ops := alice.General(t, "ops").Channel.ID
	text := "a" + strings.Join(lineEnds, "b") + "c"
	path := "/api/channels/" + ops + "/messages"
	ask := func(status int, method, path string, body any, headers ...string) nodetest.Answer {
		t.Helper()
		a, err := alice.Do(method, path, body, headers...)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSuffix(string(a.Body), "\n"); a.Status != status ||
			slices.ContainsFunc(lineEnds, func(end string) bool { return strings.Contains(got, end) }) {
			t.Errorf("%s %s: got %d %q, want %d and one line", method, path, a.Status, got, status)
		}
		return a
	}
	var one nodetest.Posted
	if err := json.Unmarshal(
		ask(201, "POST", path, nodetest.Body{"content": "first"}, "Idempotency-Key", "k").Body, &one,
	); err != nil {
		t.Fatal(err)
	}
	ask(200, "PATCH", "/api/messages/"+one.Message.ID, nodetest.Body{"content": text})
	again := ask(201, "POST", path, nodetest.Body{"content": "first"}, "Idempotency-Key", "k")
	if err := json.Unmarshal(again.Body, &one); err != nil ||
		again.Header.Get("Idempotency-Replayed") != "true" || one.Message.Content != text {
		t.Errorf("got %v and error %v, want the kept answer with the new text", again, err)
	}
	ask(201, "POST", path, nodetest.Body{"content": text})
	var page nodetest.List[nodetest.Message]
	if err := json.Unmarshal(ask(200, "GET", path, nil).Body, &page); err != nil || len(page.Items) != 2 ||
		page.Items[0].Content != text || page.Items[1].Content != text {
		t.Errorf("got %v and error %v, want both texts", page, err)
	}
	n.Settle(t)
	if a := ask(200, "GET", "/api/events?echo=true&after="+one.Cursor, nil); !strings.Contains(a.String(),
		`\u0085`) {
		t.Errorf("got %v, want the text in it", a)
	}
	ask(400, "POST", path, nodetest.Body{text: text})
	ask(400, "GET", path+"?a%C2%85%E2%80%A8=1", nil)
}
