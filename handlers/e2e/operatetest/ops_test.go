package operatetest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/center/centertest"
	"fabric-guild/handlers/e2e/guildtest"
	"fabric-guild/handlers/e2e/nodetest"
)

// opsDir is where the files for operators are.
const opsDir = "../../../testdata/ops/"

func readOps(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(opsDir + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// dashboardQueries are all that the dashboard asks, by the titles of its panels.
func dashboardQueries(t *testing.T) map[string]string {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ RefID, Expr string }
		}
	}
	if err := json.Unmarshal([]byte(readOps(t, "dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	queries := map[string]string{}
	for _, p := range dashboard.Panels {
		for _, q := range p.Targets {
			queries[fmt.Sprintf("%s (%d%s)", p.Title, p.ID, q.RefID)] = strings.NewReplacer(
				"$__rate_interval", "30s", "$instance", ".+",
			).Replace(q.Expr)
		}
	}
	if len(queries) < 20 {
		t.Fatalf("got %d queries of the dashboard, want all of them", len(queries))
	}
	return queries
}

// What alerts, dashboard and docs/operate.md name is there, under that name.
func TestAlertsAndDashboardNameWhatIsExposed(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{Center: centertest.New(t), Connections: 100})
	n.User("alice").General(t, "ops") // of requests there is nothing before the first
	m := n.Scrape(t)
	readme, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	var asked strings.Builder
	asked.WriteString(readOps(t, "alerts.yml") + string(readme))
	for _, q := range dashboardQueries(t) {
		asked.WriteString("\n" + q)
	}
	names := regexp.MustCompile(`\b(fabric_guild|process|go)_[a-z0-9_]+\b`).FindAllString(asked.String(), -1)
	if len(names) < 40 {
		t.Fatalf("got %d names of metrics, want all of them", len(names))
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		if !regexp.MustCompile(`(?m)^(# TYPE )?` + name + `[{ ]`).MatchString(m.Text) {
			t.Errorf("got no %s from the server", name)
		}
	}
}

// Each alert fires in its case, and none where all is well.
func TestAlerts(t *testing.T) {
	t.Parallel()
	promtool := nodetest.Program(t, "promtool", "prometheus")
	runs := [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}}
	if testing.Short() {
		runs = runs[:1] // the second computes for seconds
	}
	for _, args := range runs {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = opsDir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
	cases := readOps(t, "alerts_test.yml")
	for _, alert := range regexp.MustCompile(`(?m)^ *- alert: (\w+)$`).FindAllStringSubmatch(readOps(t,
		"alerts.yml"), -1) {
		if !strings.Contains(cases, "alertname: "+alert[1]+"}") ||
			!strings.Contains(cases, "alertname: "+alert[1]+"\n        exp_alerts:") {
			t.Errorf("got no two cases of %s, want one in which it fires and one in which it does not",
				alert[1])
		}
	}
}

// A real Prometheus scrapes a server, evaluates the alerts, and has an answer to each query of the dashboard.
func TestPrometheus(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	program := nodetest.Program(t, "prometheus", "prometheus")
	n := nodetest.Start(t, nodetest.Setup{Center: centertest.New(t), BasePath: "/chat"})
	base := prometheus(t, program, n)
	alice, bob := n.User("alice"), n.User("bob")
	channel := alice.General(t, "ops", "bob").Channel.ID
	bob.Fresh(t, nodetest.Raw, "")
	posting, stop := context.WithCancel(t.Context())
	posted := make(chan struct{})
	go func() { // for as long as it takes: rates want a few scrapes
		defer close(posted)
		for posting.Err() == nil {
			if _, err := nodetest.Ask[json.RawMessage](alice, 201, "POST", "/api/channels/"+channel+
				"/messages", nodetest.Body{"content": "hi"}); err != nil {
				t.Error(err)
				return
			}
			select {
			case <-posting.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	defer func() { stop(); <-posted }()

	for title, query := range dashboardQueries(t) {
		var result struct{ Result []json.RawMessage }
		var err error
		if !ssetest.Await(func() bool {
			err = askPrometheus(t.Context(), base, "/api/v1/query?query="+url.QueryEscape(query), &result)
			return err == nil && len(result.Result) > 0
		}) {
			t.Errorf("%s: got no answer to %s, error %v", title, query, err)
		}
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError, State string }
		}
	}
	var err error
	// A busy machine can miss a scrape, and then FabricGuildDown is pending for a while.
	calm := func() bool {
		for _, g := range rules.Groups {
			for _, r := range g.Rules {
				if r.Health != "ok" || r.State != "inactive" {
					return false
				}
			}
		}
		return len(rules.Groups) == 1
	}
	if !ssetest.Await(func() bool {
		err = askPrometheus(t.Context(), base, "/api/v1/rules", &rules)
		return err == nil && calm()
	}) {
		t.Fatalf("got %+v and %v, want alerts that are evaluated and do not fire", rules, err)
	}
}

// prometheus runs one that scrapes the node and evaluates the alerts, and returns its URL when it is ready.
func prometheus(t *testing.T, program string, n *nodetest.Node) string {
	t.Helper()
	alerts, err := filepath.Abs(opsDir + "alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(n.URL)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := fmt.Sprintf(`{"global":{"scrape_interval":"1s","evaluation_interval":"1s"},"rule_files":[%q],
		"scrape_configs":[{"job_name":"fabric-guild","metrics_path":%q,
		"static_configs":[{"targets":[%q]}]}]}`,
		alerts, target.Path+"/metrics", target.Host)
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr guildtest.Text
	cmd := exec.Command(program, "--config.file=prometheus.yml", "--storage.tsdb.path=data",
		"--web.listen-address=127.0.0.1:0")
	cmd.Dir, cmd.Stderr = dir, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if t.Failed() {
			t.Logf("Prometheus: %s", &stderr)
		}
	})
	listening := regexp.MustCompile(`msg="Listening on" address=(\S+)`)
	var base string
	if !ssetest.Await(func() bool {
		m := listening.FindStringSubmatch(stderr.String())
		if m == nil {
			return false
		}
		base = "http://" + m[1]
		return askPrometheus(t.Context(), base, "/-/ready", nil) == nil
	}) {
		t.Fatalf("Prometheus is not getting ready: %s", &stderr)
	}
	return base
}

// askPrometheus decodes the data of an answer; nil: any will do.
func askPrometheus(ctx context.Context, base, path string, data any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(string(bytes.TrimSpace(b)))
	}
	if data == nil {
		return nil
	}
	return json.Unmarshal(b, &struct{ Data any }{data})
}
