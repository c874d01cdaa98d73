package guildtest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
)

// client keeps many idle connections. The default client keeps only two, and dials more connections than it
// uses. A server that stops would wait for the unused ones.
var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// Call sends a request. If the status is below 300 and out is not nil, Call decodes the answer into out. It
// encodes body as JSON, but sends a json.RawMessage unchanged. body may be nil and token empty. Call returns
// an error if the server does not answer within Patience, or if out does not fit the answer.
func Call(ctx context.Context, method, url, token string, body, out any) (status int, err error) {
	var b []byte
	if raw, ok := body.(json.RawMessage); ok {
		b = raw
	} else if body != nil {
		b, err = json.Marshal(body)
		if err != nil {
			return 0, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(b))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	b, err = io.ReadAll(answer.Body)
	if err == nil && out != nil && answer.StatusCode < 300 {
		err = json.Unmarshal(b, out)
	}
	return answer.StatusCode, err
}

// unavailable reports whether a server without its database, or a proxy without its server, sent this status.
func unavailable(status int) bool {
	switch status {
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// Get calls the server with GET and returns the status. An error ends the test.
func (n *Node) Get(path, token string, out any) (status int) {
	n.t.Helper()
	status, err := Call(n.t.Context(), http.MethodGet, n.Base()+path, token, nil, out)
	if err != nil {
		n.t.Fatal(err)
	}
	return status
}

// Token makes a token with the command "token". The command works even if the server does not run. At the end
// of the test, the token must not be in the log.
func (n *Node) Token(user string) string {
	n.t.Helper()
	return n.Tokens(user)[0]
}

// Tokens makes a Token for each user.
func (n *Node) Tokens(users ...string) []string {
	n.t.Helper()
	stdout, stderr, code := n.program.Run(n.t, nil, append([]string{"token", "-state", n.state}, users...)...)
	if code != 0 {
		n.t.Fatalf("got exit %d and %q from the command token, want 0", code, stderr)
	}
	tokens := strings.Fields(stdout)
	n.secrets = append(n.secrets, tokens...)
	return tokens
}

var printed = regexp.MustCompile(`(?m)^  (?:an?|two) (\w+): +((?:.*\\\n)*.*)$`)

// Printed returns a command that the server prints when it is ready, with CHANNEL_ID replaced. The command
// for tokens comes before it.
func (n *Node) Printed(what, channel string) string {
	commands := map[string]string{}
	for _, m := range printed.FindAllStringSubmatch(n.Log(), -1) {
		commands[m[1]] = m[2]
	}
	return commands["tokens"] + "\n" + strings.ReplaceAll(commands[what], "CHANNEL_ID", channel)
}

// Shell starts a script in a shell, like a person who copied it, and outside the server's directory. out
// collects stdout and stderr. ended gets the result of the script once. At the end of the test the script is
// killed.
func (n *Node) Shell(script string) (out *Text, ended <-chan error) {
	out = &Text{}
	done := make(chan error, 1)
	cmd := exec.CommandContext(n.t.Context(), "sh", "-c", script)
	cmd.Dir = "/"
	cmd.Env = n.program.Environment(nil)
	cmd.Stdout = out
	cmd.Stderr = out
	go func() { done <- cmd.Run() }()
	return out, done
}
