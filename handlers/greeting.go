package handlers

import (
	"fmt"
	"net/url"
	"os"
	"strings"
)

// BaseURL is where the server is; cert is nil where it does without TLS.
func BaseURL(cert *Certificate, addr, basePath string) string {
	base := url.URL{Scheme: "http", Host: addr, Path: basePath}
	if cert != nil {
		base.Scheme = "https"
	}
	return base.String()
}

// Greeting tells where the server is, and how to try it: commands to copy into a shell in any directory.
// state is the -state that they need, empty for the default.
func Greeting(base, state string) string {
	self := "go run ."
	if path, err := os.Executable(); err == nil && !strings.Contains(path, "go-build") {
		self = quote(path)
	}
	if state != "" {
		state = " -state " + quote(state)
	}
	return fmt.Sprintf(`fabric-guild is ready on %[1]s

  in a browser, with a token: %[1]s/

  a token:    TOKEN=$(%[2]s token%[3]s alice)
  a stream:   curl -N -H "Authorization: Bearer $TOKEN" %[1]s/api/stream
  a channel:  curl -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' %[1]s/api/channels \
                -d '{"guildId":"g1","name":"ops","xType":"general","memberUserIds":["bob"]}'
  a message:  curl -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' %[1]s/api/channels/CHANNEL_ID/messages \
                -d '{"content":"hi <@bob>"}'

`, base, self, state)
}

// quote quotes for a shell what needs it.
func quote(s string) string {
	if !strings.ContainsAny(s, " \t\n\"'`$&|;<>()*?[]{}~#!\\") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
