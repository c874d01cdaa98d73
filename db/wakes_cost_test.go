package db_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"

	"github.com/jackc/pgx/v5"
)

// A claim sends its statements to Postgres in few round trips: one to lock the queue, one to scan, one to
// choose, and one to write the lease. Each further trip makes the claim slower than the stream
// that shows the same message.
func TestRoundTripsOfAClaim(t *testing.T) {
	t.Parallel()
	url, trips := countTrips(t, dbtest.New(t))
	d := openURL(t, url)
	channel, _ := create(t, d, "ann", "bot")
	at := position(t, d)
	_, err := d.Claim(t.Context(), db.WakeClaim{User: "bot", Create: true, Since: at.Seq, At: at, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	const none = 1 << 30
	// the first use of a connection prepares statements
	least := struct{ look, claim, show int64 }{none, none, none}
	count := func(least *int64, do func() error) {
		t.Helper()
		before := trips.Load()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		*least = min(*least, trips.Load()-before)
	}
	for range 10 {
		post(t, d, channel, "ann", "hi")
		at := position(t, d)
		var a db.Claimed
		count(&least.look, func() error {
			_, _, err := d.Due(t.Context(), "bot", at)
			return err
		})
		count(&least.claim, func() (err error) {
			a, err = d.Claim(t.Context(), db.WakeClaim{
				User: "bot", At: at, Limit: 100, Lease: 1e9, Worker: "w", Instance: "1",
			})
			return err
		})
		count(&least.show, func() error {
			_, err := d.ShowWake(t.Context(), "bot", a.Wake, 20, 1<<20)
			return err
		})
		if _, _, err := d.AckWake(t.Context(), db.WakeRef{User: "bot", ID: a.Wake.ID}, db.Ack{}); err != nil {
			t.Fatal(err)
		}
	}
	if least.look != 1 || least.claim != 4 || least.show != 1 {
		t.Errorf("got %d round trips to look, %d to claim and %d to show the wake, want 1, 4 and 1",
			least.look, least.claim, least.show)
	}
}

// countTrips returns the URL of a proxy in front of a database. The proxy counts how often Postgres says that
// it is ready for the next round trip.
func countTrips(t *testing.T, url string) (proxied string, trips *atomic.Int64) {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	trips = new(atomic.Int64)
	socket := filepath.Join(config.Host, fmt.Sprint(".s.PGSQL.", config.Port))
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := new(net.Dialer).DialContext(context.WithoutCancel(t.Context()), "unix", socket)
			if err != nil {
				_ = client.Close()
				continue
			}
			go func() {
				_, _ = io.Copy(server, client)
				_ = server.Close()
			}()
			go func() {
				copyMessages(client, server, trips)
				_ = client.Close()
			}()
		}
	}()
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", config.User, l.Addr(), config.Database), trips
}

// copyMessages copies what Postgres sends, and counts ReadyForQuery.
func copyMessages(client io.Writer, server io.Reader, ready *atomic.Int64) {
	in := bufio.NewReader(server)
	for {
		head, err := in.Peek(5)
		if err != nil {
			return
		}
		if head[0] == 'Z' {
			ready.Add(1)
		}
		size := 1 + int64(binary.BigEndian.Uint32(head[1:]))
		if _, err := io.CopyN(client, in, size); err != nil {
			return
		}
	}
}
