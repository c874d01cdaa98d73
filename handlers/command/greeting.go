package command

import (
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"
)

// baseURL returns the URL of the server for programs on the same machine. addr is the address that the server
// listens on.
func baseURL(tls bool, addr, basePath string) string {
	if a, err := netip.ParseAddrPort(addr); err == nil && a.Addr().IsUnspecified() {
		addr = fmt.Sprintf("localhost:%d", a.Port())
	}
	base := url.URL{Scheme: "http", Host: addr, Path: basePath}
	if tls {
		base.Scheme = "https"
	}
	return base.String()
}

// greeting returns a text that says where the server is and how to try it. The text has commands that work in
// a shell in any directory. state is the -state flag for these commands. It is empty for the default.
func greeting(base, state string) string {
	self := "go run ."
	if path, err := os.Executable(); err == nil && !strings.Contains(path, "go-build") {
		self = quote(path)
	}
	if state != "" {
		state = " -state " + quote(state)
	}
	return fmt.Sprintf(`fabric-guild is ready on %[1]s

  in a browser, with a token: %[1]s/
  how to use and run it: %[1]s/docs

  two tokens:  ALICE=$(%[2]s token%[3]s alice); BOB=$(%[2]s token%[3]s bob)
  a stream:    curl -sN -H "Authorization: Bearer $BOB" %[1]s/api/stream &
  a channel:   curl -s -H "Authorization: Bearer $ALICE" -H 'Content-Type: application/json' \
                 %[1]s/api/channels \
                 -d '{"guildId":"g1","name":"ops","xType":"general","memberUserIds":["bob"]}'
  an agent:    FABRIC_BACKEND_GUILD_TOKEN=$BOB %[2]s agent -url %[1]s \
                 -exec 'printf %%s "$FABRIC_CONTENT" | tr a-z A-Z' &
  a message:   curl -s -H "Authorization: Bearer $ALICE" -H 'Content-Type: application/json' \
                 %[1]s/api/channels/CHANNEL_ID/messages -d '{"content":"hi <@bob>"}'

`, base, self, state)
}

// quote quotes s for a shell if s needs that.
func quote(s string) string {
	if !strings.ContainsAny(s, " \t\n\"'`$&|;<>()*?[]{}~#!\\") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
