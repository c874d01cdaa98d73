package proxytest

import (
	"net"
	"net/http"
	"regexp"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/guildtest"
)

// With -trusted-proxies, the server knows the address of each client behind a proxy. A client that sends a
// forwarding header itself cannot hide its address.
func TestClientsKeepTheirAddresses(t *testing.T) {
	t.Parallel()
	const mine = "127.0.0.2" // not trusted, as an address of a client
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			n := program.Start(t, guildtest.StateDir(t), "-database-url", dbtest.New(t),
				"-trusted-proxies", "127.0.0.1")
			p := start(t, k, idle, n)
			from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(mine)}}
			client := http.Client{Transport: &http.Transport{DialContext: from.DialContext}}
			t.Cleanup(client.CloseIdleConnections)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.base()+"/api/me", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+n.Token("bob"))
			r.Header.Set("X-Forwarded-For", "203.0.113.9")
			answer, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			n.AwaitLog("path=/api/me ")
			got := regexp.MustCompile(`client=(\S+) method=GET path=/api/me `).FindStringSubmatch(n.Log())
			if got == nil || got[1] != mine {
				t.Errorf("got the client %q in the log, want %s", got, mine)
			}
		})
	}
}
