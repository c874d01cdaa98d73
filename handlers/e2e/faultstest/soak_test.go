package faultstest

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"text/tabwriter"
	"time"

	"fabric-guild/db/dbtest"
	"fabric-guild/db/pgrun"
	"fabric-guild/handlers/e2e/guildtest"
)

// soakEnv is an environment variable with the duration of TestSoak. Without it, the test takes a few seconds.
const soakEnv = "FABRIC_GUILD_SOAK"

// ringEvents is the largest number of recent events that a server keeps.
const ringEvents = 16384

// A sample has the resources of a server under steady load at one moment.
type sample struct {
	at                     time.Duration
	posts                  int
	lag                    int // of the slowest stream, in numbers of the event log
	pending                int // events after the horizon, in numbers of the event log
	files, goroutines, mib int
}

func (s sample) row() []string {
	var row []string
	for _, v := range []int{int(s.at.Seconds()), s.posts, s.lag, s.pending, s.files, s.goroutines, s.mib} {
		row = append(row, strconv.Itoa(v))
	}
	return row
}

var columns = []string{"seconds", "posts", "stream_lag", "horizon_lag", "files", "goroutines", "rss_mib"}

// 500 streams, each in six channels, get 50 posts a second. Memory must not grow after the ring of recent
// events is full.
func TestSoak(t *testing.T) {
	t.Parallel()
	const streams, writers = 500, 5
	duration := 3 * time.Second
	if v := os.Getenv(soakEnv); v != "" {
		var err error
		duration, err = time.ParseDuration(v)
		if err != nil {
			t.Fatalf("%s: %v", soakEnv, err)
		}
	}
	n := program.Start(t, guildtest.StateDir(t))
	var users []string
	for i := range streams {
		users = append(users, fmt.Sprint("user", i))
	}
	l := guildtest.NewLoad(t, n, users...)
	readers := l.ListenMany(users, n.Base)
	log := dbtest.Connect(t, n.Superuser(pgrun.Owner))
	l.Pause = writers * 20 * time.Millisecond
	l.Write(writers, n.Base)

	var samples []sample
	began := time.Now()
	tick := time.NewTicker(max(duration/100, 100*time.Millisecond))
	defer tick.Stop()
	for time.Since(began) < duration {
		<-tick.C
		v := n.Vitals()
		s := sample{
			at:         time.Since(began),
			posts:      l.Counts().Acknowledged,
			lag:        l.Lag(),
			files:      v.Files,
			goroutines: int(n.Metric("go_goroutines")),
			mib:        v.Memory,
		}
		if err := log.QueryRow(t.Context(),
			`SELECT last - horizon FROM log_horizon()`).Scan(&s.pending); err != nil {
			t.Fatal(err)
		}
		samples = append(samples, s)
	}
	l.Finish()
	l.VerifyMany(readers)
	tell(t, samples)
	most := func(s []sample) int {
		return slices.MaxFunc(s, func(a, b sample) int { return a.mib - b.mib }).mib
	}
	if got := most(samples); got > 160 {
		t.Errorf("got %d MiB, want at most 160", got)
	}
	// Until the ring is full, memory may grow.
	full := slices.IndexFunc(samples, func(s sample) bool { return s.posts > ringEvents })
	if steady := samples[max(0, full):]; full >= 0 && len(steady) > 10 {
		if a, b := most(steady[:len(steady)/2]), most(steady[len(steady)/2:]); b > a+8 {
			t.Errorf("got %d MiB in the second half, want no growth after %d in the first", b, a)
		}
	}
	l.HangUp()
	guildtest.Eventually(t, "the server closes the connections of clients that are gone", guildtest.Patience,
		func() bool { return len(n.Connections()) == 0 })
	n.AwaitGoroutines(quiet)
}

// tell logs a table with some samples, and writes all samples to soak.csv.
func tell(t *testing.T, samples []sample) {
	t.Helper()
	path := filepath.Join(t.ArtifactDir(), "soak.csv")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	all := csv.NewWriter(f)
	table := tabwriter.NewWriter(t.Output(), 0, 0, 2, ' ', tabwriter.AlignRight)
	print := func(row []string) {
		for _, v := range row {
			_, _ = fmt.Fprint(table, v, "\t")
		}
		_, _ = fmt.Fprintln(table)
	}
	_ = all.Write(columns)
	print(columns)
	for i, s := range samples {
		_ = all.Write(s.row())
		if every := max(1, len(samples)/20); i%every == 0 || i == len(samples)-1 {
			print(s.row())
		}
	}
	all.Flush()
	if err := all.Error(); err != nil {
		t.Fatal(err)
	}
	_ = table.Flush()
	t.Logf("all samples: %s", path)
}
