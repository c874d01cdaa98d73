package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// A target is the server under test.
type target struct {
	url    string
	client *http.Client
}

func newTarget(base string) *target {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 256
	t.DisableCompression = true
	return &target{strings.TrimSuffix(base, "/"), &http.Client{Transport: t, Timeout: 30 * time.Second}}
}

func (t *target) close() { t.client.CloseIdleConnections() }

// call sends a request and decodes the answer into out, unless out is nil. An error answer is a problem.
func (t *target) call(ctx context.Context, token, method, path string, body, out any) error {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, t.url+path, content)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := t.client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode >= 300 {
		return asProblem(answer.StatusCode, b)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

// createChannel creates a general channel with these members. If adding a member fails, createChannel returns
// the id as well as the error, so that the caller can archive the channel.
func (t *target) createChannel(
	ctx context.Context, token, name string, members []string,
) (id string, err error) {
	first := members[:min(len(members), maxMembers)]
	var made struct {
		Channel struct {
			ID string `json:"id"`
		} `json:"channel"`
	}
	err = t.call(ctx, token, http.MethodPost, "/api/channels", map[string]any{
		"guildId": benchGuild, "name": name, "xType": "general", "memberUserIds": first,
	}, &made)
	if err != nil {
		return "", err
	}
	id = made.Channel.ID
	for _, member := range members[len(first):] {
		path := "/api/channels/" + id + "/members/" + url.PathEscape(member)
		if err := t.call(ctx, token, http.MethodPut, path, nil, nil); err != nil {
			return id, err
		}
	}
	return id, nil
}

func (t *target) archive(ctx context.Context, token, channel string) error {
	return t.call(ctx, token, http.MethodDelete, "/api/channels/"+channel, nil, nil)
}

func (t *target) post(ctx context.Context, token, channel, content string) error {
	path := "/api/channels/" + channel + "/messages"
	return t.call(ctx, token, http.MethodPost, path, map[string]string{"content": content}, nil)
}

// A usage is what the server has used so far, according to its metrics.
type usage struct {
	known  bool    // false if /metrics cannot be read
	memory float64 // resident memory, in bytes
	cpu    float64 // CPU time, in seconds

	live        float64 // heap that was in use at the last collection of garbage, and stacks, in bytes
	collections float64 // of garbage
}

// settled is usage once the server has collected its garbage. Meanwhile the client holds no idle connections,
// which would count for the server. It gives up after a minute.
func (t *target) settled(ctx context.Context) (u usage) {
	t.close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	first := t.usage(ctx)
	const collections = 4 // each halves the stacks that are too large
	for u = first; u.known && u.collections < first.collections+collections; {
		u = t.usage(ctx) // makes garbage
	}
	return u
}

// usage reads /metrics. If that fails, the result is not known: the server may not serve metrics to this
// client.
func (t *target) usage(ctx context.Context) (u usage) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url+"/metrics", nil)
	if err != nil {
		return u
	}
	answer, err := t.client.Do(r)
	if err != nil {
		return u
	}
	defer func() { _ = answer.Body.Close() }()
	b, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return u
	}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseFloat(value, 64)
		switch {
		case err != nil:
		case name == "process_resident_memory_bytes":
			u.memory = n
			u.known = true
		case name == "process_cpu_seconds_total":
			u.cpu = n
		case name == "go_gc_heap_live_bytes", name == "go_memstats_stack_inuse_bytes":
			u.live += n
		case name == "go_gc_duration_seconds_count":
			u.collections = n
		}
	}
	return u
}

// ready returns an error if the server is not ready to be measured.
func (t *target) ready(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := t.client.Do(r)
	if err != nil {
		return fmt.Errorf("no server at %s (start one, or choose another with -url): %w", t.url, err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the server at %s is not ready: %s", t.url, answer.Status)
	}
	return nil
}
