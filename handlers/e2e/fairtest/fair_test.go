package fairtest

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	_ "fabric-guild/handlers" // a change of this package must not leave the results of these tests cached
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/guildtest"
)

var (
	program guildtest.Program
	full    = flag.Bool("fair", false, "measure: full attacks, one after the other, with a table at the end")
	phase   = flag.Duration("phase", 2*time.Second, "with -fair: how long an attack or its control lasts")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(attackerEnv) != "" {
		if err := obey(); err != nil {
			fmt.Fprintln(os.Stderr, "attacker:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if testing.Short() {
		fmt.Println("skipped by -short: attacks keep all processors busy")
		return
	}
	os.Exit(program.Main(m, config.EnvPrefix))
}

// most is how many MiB a server may use in the small run, with its small attacks.
const most = 200

// sized returns the size of a part of an attack: all in a measurement, few in the small run.
func sized(all, few int) int {
	if *full {
		return all
	}
	return few
}

// TestFairness runs all attacks of one user beside a second user. Without -fair it checks only counts: all
// posts of the second user succeed and arrive, memory stays below a bound, and each refusal has a code.
func TestFairness(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var rows []row
	t.Run("attack", func(t *testing.T) {
		for _, a := range attacks {
			t.Run(a.name, func(t *testing.T) {
				if !*full {
					t.Parallel()
				}
				r := measure(t, a)
				mu.Lock()
				defer mu.Unlock()
				rows = append(rows, r)
			})
		}
	})
	if *full {
		tell(t, rows)
	}
}

// A row has the results of an attack.
type row struct {
	name              string
	control, attacked times
	requests          int
	memory            int            // peak in MiB
	answers           map[string]int // by status and code
}

// times are how long the second user waited for each post, delivery and connection. failed counts those that
// failed.
type times struct {
	post, delivery, connect []time.Duration
	failed                  int
}

func (x *times) add(y times) {
	x.post = append(x.post, y.post...)
	x.delivery = append(x.delivery, y.delivery...)
	x.connect = append(x.connect, y.connect...)
	x.failed += y.failed
}

func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	all = slices.Sorted(slices.Values(all))
	return all[int(q*float64(len(all)-1))]
}

// tell prints a table of the results. The goal is a ratio of at most 2 for the second user's p50.
func tell(t *testing.T, rows []row) {
	t.Helper()
	w := tabwriter.NewWriter(t.Output(), 0, 0, 1, ' ', 0)
	defer func() { _ = w.Flush() }()
	_, _ = fmt.Fprintln(w, "attack\t| post p50/p95 ms: control\t attacked\t ratio\t"+
		"| delivery: control\t attacked\t ratio\t| connect: control\t attacked\t ratio\t"+
		"| failed\t| requests\t| MiB\t| answers")
	for _, r := range rows {
		_, _ = fmt.Fprintf(w, "%s\t", r.name)
		for _, of := range []func(times) []time.Duration{
			func(x times) []time.Duration { return x.post },
			func(x times) []time.Duration { return x.delivery },
			func(x times) []time.Duration { return x.connect },
		} {
			before := of(r.control)
			after := of(r.attacked)
			_, _ = fmt.Fprintf(w, "| %s\t %s\t %s\t", both(before), both(after), ratio(before, after))
		}
		tried := r.attacked.failed + len(r.attacked.post) + len(r.attacked.connect)
		_, _ = fmt.Fprintf(w, "| %d of %d\t| %d\t| %d\t| %s\n",
			r.attacked.failed, tried, r.requests, r.memory, list(r.answers))
	}
}

func both(all []time.Duration) string {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return fmt.Sprintf("%.1f/%.1f", ms(quantile(all, 0.5)), ms(quantile(all, 0.95)))
}

func ratio(before, after []time.Duration) string {
	if len(before) == 0 || len(after) == 0 {
		return "none"
	}
	return fmt.Sprintf("%.1f", float64(quantile(after, 0.5))/float64(quantile(before, 0.5)))
}

func list(counts map[string]int) string {
	var all []string
	for code, n := range counts {
		all = append(all, fmt.Sprintf("%s: %d", code, n))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
