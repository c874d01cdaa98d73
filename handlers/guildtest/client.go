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

// The default keeps two idle connections, and dials more than it uses: a server that stops waits for those.
var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// Call sends a request and, when it succeeds, decodes the answer into out, unless that is nil. A body is
// marshalled, but a json.RawMessage goes out as it is. The token may be empty. An error is that of a server
// that did not answer, or of an answer that is not as expected; a call takes Patience at most.
func Call(ctx context.Context, method, url, token string, body, out any) (status int, err error) {
	var b []byte
	if raw, ok := body.(json.RawMessage); ok {
		b = raw
	} else if body != nil {
		if b, err = json.Marshal(body); err != nil {
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
	if b, err = io.ReadAll(answer.Body); err == nil && out != nil && answer.StatusCode < 300 {
		err = json.Unmarshal(b, out)
	}
	return answer.StatusCode, err
}

// unavailable reports whether a status is the server's without its database, or a proxy's without its server.
func unavailable(status int) bool {
	return status == http.StatusServiceUnavailable || status == http.StatusBadGateway || status == http.StatusGatewayTimeout
}

// Get is a Call of the server, which must answer: anything else ends the test.
func (n *Node) Get(path, token string, out any) (status int) {
	n.t.Helper()
	status, err := Call(n.t.Context(), http.MethodGet, n.Base()+path, token, nil, out)
	if err != nil {
		n.t.Fatal(err)
	}
	return status
}

// Token makes a token with the program's command, which works whether or not the server runs. It must not be
// in the log.
func (n *Node) Token(user string) string {
	n.t.Helper()
	return n.Tokens(user)[0]
}

// Tokens are a Token for each user.
func (n *Node) Tokens(users ...string) []string {
	n.t.Helper()
	stdout, stderr, code := n.program.Run(n.t, nil, append([]string{"token", "-state", n.state}, users...)...)
	if code != 0 {
		n.t.Fatalf("got exit %d and %q for a token", code, stderr)
	}
	tokens := strings.Fields(stdout)
	n.secrets = append(n.secrets, tokens...)
	return tokens
}

var printed = regexp.MustCompile(`(?m)^  (?:a|two) (\w+): +((?:.*\\\n)*.*)$`)

// Printed is the command for something that the server prints when it is ready, after the one for tokens.
func (n *Node) Printed(what, channel string) string {
	commands := map[string]string{}
	for _, m := range printed.FindAllStringSubmatch(n.Log(), -1) {
		commands[m[1]] = m[2]
	}
	return commands["tokens"] + "\n" + strings.ReplaceAll(commands[what], "CHANNEL_ID", channel)
}

// Shell begins a script as a person would who copied it: in a shell, and not in the server's directory. out
// is all of its output, and ended gets its error once; it is killed with the test.
func (n *Node) Shell(script string) (out *Text, ended <-chan error) {
	cmd, out, done := exec.CommandContext(n.t.Context(), "sh", "-c", script), &Text{}, make(chan error, 1)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/", n.program.Environment(nil), out, out
	go func() { done <- cmd.Run() }()
	return out, done
}
