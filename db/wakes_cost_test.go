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

// A claim sends its statements to Postgres in few round trips: one to lock the queue and to scan, and one to
// write the lease and to read what the worker sees. Between the two it needs one to choose, if there is more
// than one row to choose from. Each further trip makes the claim slower than the stream that shows the same
// message. A user in more channels than the first trip reads needs one more.
func TestRoundTripsOfAClaim(t *testing.T) {
	dbtest.Long(t) // TestRowsRead is fast
	t.Parallel()
	url, trips := countTrips(t, dbtest.New(t))
	d := openURL(t, url)
	channel, _ := create(t, d, "ann", "bot")
	other, _ := create(t, d, "ann", "bot")
	for range 8 {
		create(t, d, "ann", "many")
	}
	many, _ := create(t, d, "ann", "many")
	at := position(t, d)
	_, err := d.Claim(t.Context(), db.WakeClaim{
		User: "many", Create: true, Since: at.Seq, At: at, Limit: 100,
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Claim(t.Context(), db.WakeClaim{User: "bot", Create: true, Since: at.Seq, At: at, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	const none = 1 << 30
	// the first use of a connection prepares statements
	least := struct{ look, claim, inMany, choice, nothing int64 }{none, none, none, none, none}
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
		post(t, d, many, "ann", "hi")
		at := position(t, d)
		count(&least.look, func() error {
			_, _, err := d.Due(t.Context(), "bot", at)
			return err
		})
		claim := func(least *int64, user string, due bool) {
			t.Helper()
			var a db.Claimed
			count(least, func() (err error) {
				a, err = d.Claim(t.Context(), db.WakeClaim{
					User: user, At: at, Limit: 100, Lease: 1e9, Around: 20,
				})
				return err
			})
			if (a.Wake != nil) != due {
				t.Fatalf("%s: got %+v, want a wake: %v", user, a, due)
			}
			if !due {
				return
			}
			if n := len(a.Wake.Shown.Messages); n != 1 {
				t.Errorf("%s: got %d messages, want 1", user, n)
			}
			ref := db.WakeRef{User: user, ID: a.Wake.ID}
			if err := d.AckWake(t.Context(), ref, db.Ack{}); err != nil {
				t.Fatal(err)
			}
		}
		claim(&least.claim, "bot", true)
		claim(&least.inMany, "many", true)
		post(t, d, channel, "ann", "hi")
		post(t, d, other, "ann", "hi")
		at = position(t, d)
		claim(&least.choice, "bot", true)
		claim(&least.choice, "bot", true)
		claim(&least.nothing, "bot", false)
	}
	want := least
	want.look, want.claim, want.inMany, want.choice, want.nothing = 1, 2, 3, 3, 2
	if least != want {
		t.Errorf("round trips to look, to claim, in many channels, with a choice and to find nothing: "+
			"got %v, want %v", least, want)
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
