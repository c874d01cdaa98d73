package agent

import (
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A claim asks for what the flags say, and for nothing else.
func TestAClaimAsksForWhatTheFlagsSay(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]map[string]any{
		"":           {"leaseSeconds": 60.0},
		"-lease 30s": {"leaseSeconds": 30.0},
		"-max-age 2m -limit 7 -channels a,b": {
			"leaseSeconds": 60.0, "maxAgeSeconds": 120.0, "limit": 7.0, "channelIds": []any{"a", "b"},
		},
	} {
		c := &Command{}
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		c.Flags(flags)
		given := append([]string{"-token", "t", "-exec", "true"}, strings.Fields(args)...)
		if err := flags.Parse(given); err != nil {
			t.Fatal(err)
		}
		if err := c.check(); err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		answers := func(r *http.Request) (*http.Response, error) {
			err := json.NewDecoder(r.Body).Decode(&got)
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{}`))}, err
		}
		a := &agent{
			Command: c, worker: "w", instance: "i",
			client: client{server: &c.account, http: &http.Client{Transport: transport(answers)}},
		}
		if _, err := a.claim(t.Context(), claimWait); err != nil {
			t.Fatal(err)
		}
		want["waitSeconds"], want["worker"], want["instance"] = 30.0, "w", "i"
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: the body of the claim (-want +got):\n%s", args, diff)
		}
	}
}
