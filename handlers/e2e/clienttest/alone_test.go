package clienttest

import (
	"net/http"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/guildtest"
)

// Some clients work incorrectly without the few lines that their rows in docs/clients.md ask for. If this
// test fails because a new version of a client works correctly, docs/clients.md no longer needs those lines.
func TestClientsFailWithoutHelp(t *testing.T) {
	t.Parallel()
	need(t)
	n := program.Start(t, guildtest.StateDir(t), "-database-url", dbtest.New(t))
	twice := func(want, got []string) bool { return len(got) > len(want) }
	loses := func(want, got []string) bool { return len(got) < len(want) }
	tests := []struct {
		client client
		cut    cut
		does   func(want, got []string) bool
	}{
		{client{"npm eventsource 2", script("node", "alone/eventsource2.mjs")}, beforeID, twice},
		{
			client{"npm @microsoft/fetch-event-source", script("node", "alone/fetch-event-source.mjs")},
			beforeLast, loses,
		},
		{client{"go r3labs/sse", r3labs(http.DefaultTransport)}, beforeID, twice},
		{client{"go tmaxmax/go-sse", tmaxmax(http.DefaultTransport)}, beforeID, twice},
	}
	p := newPoster(t, n)
	var clients []client
	for _, test := range tests {
		clients = append(clients, test.client)
	}
	all := follow(t, n, clients)
	stop := p.start()
	for i, f := range all {
		f.give(tests[i].cut)
	}
	all.await(t, "the end of its connection", func(f *follower) bool { return f.left() == 0 })
	all.await(t, "another connection", func(f *follower) bool { return f.count("stream.ready") == 2 })
	final := stop()
	all.await(t, "the last message", func(f *follower) bool { return f.has("message.created", final) })
	for i, f := range all {
		t.Run(f.name, func(t *testing.T) {
			got := f.messages(t)
			want := p.want(got)
			if !tests[i].does(want, got) {
				t.Errorf("got %d messages of %d, want the client to need help", len(got), len(want))
			}
		})
	}
}
