package pgrun

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// restartPolicy: a server that dies is started again after a pause that
// doubles from the first to the longest. One that dies young too many times in
// a row is given up.
type restartPolicy struct {
	firstPause, longestPause time.Duration
	youngAge                 time.Duration
	youngDeaths              int
	lookEvery                time.Duration // how often the socket is looked at
}

var defaultRestarts = restartPolicy{
	firstPause:   100 * time.Millisecond,
	longestPause: 2 * time.Second,
	youngAge:     30 * time.Second,
	youngDeaths:  150, // about five minutes: a full disk is worth waiting for
	lookEvery:    2 * time.Second,
}

// supervise runs servers one after another until ctx ends or it gives up, then
// frees the state directory and closes done.
func (p *Postgres) supervise(ctx context.Context) {
	// The kernel shuts the server down when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	p.err = p.serve(ctx)
	p.stop()
	p.err = errors.Join(p.err, p.lock.removeSockets())
	p.lock.release()
}

func (p *Postgres) serve(ctx context.Context) error {
	policy := p.config.restarts
	pause, deaths := policy.firstPause, 0
	for {
		born := time.Now()
		end, err := p.runServer(ctx)
		if errors.Is(err, context.Canceled) {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		if err == nil {
			err = fmt.Errorf("postgres ended (%s): %s", end, p.log.last())
		}
		select {
		case <-p.ready:
		default:
			return err
		}
		if time.Since(born) > policy.youngAge {
			pause, deaths = policy.firstPause, 0
		}
		if deaths++; deaths >= policy.youngDeaths {
			return fmt.Errorf("given up after %d attempts: %w", deaths, err)
		}
		p.config.Logger.Error("postgres died, restarting it", "error", err, "pause", pause, "attempt", deaths)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		pause = min(2*pause, policy.longestPause)
	}
}

// runServer runs one server to its end and returns how it ended. The end of
// ctx shuts it down. No process of it is left when runServer returns without
// error.
func (p *Postgres) runServer(ctx context.Context) (string, error) {
	claim, err := p.lock.claimServer(ctx, func(string) {})
	if err != nil {
		return "", err
	}
	defer func() { _ = claim.Close() }()
	if err := p.cluster.removeStalePidFile(); err != nil {
		return "", err
	}
	if err := p.cluster.restoreSocketDir(p.sockets); err != nil {
		return "", err
	}
	clearSockets(p.sockets)

	out, in, err := os.Pipe()
	if err != nil {
		return "", err
	}
	// Not bound to ctx: how a server is stopped is decided below.
	c := p.cluster
	cmd := c.account.command(context.WithoutCancel(ctx), c.home, c.binaries.path("postgres"), p.arguments()...)
	setDeathSignal(cmd.SysProcAttr)
	cmd.Stdout, cmd.Stderr = in, in
	cmd.ExtraFiles = []*os.File{claim}
	err = errors.Join(cmd.Start(), in.Close())
	if err != nil {
		return "", errors.Join(err, out.Close())
	}
	p.pid.Store(int64(cmd.Process.Pid))
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		p.log.copy(out)
	}()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	lost := p.awaitEnd(ctx, cmd.Process, ended)
	p.pid.Store(0)
	_ = claim.Close()
	err = p.awaitOrphans()
	if err != nil {
		_ = out.Close() // frees the reader, whom an orphan keeps waiting
	}
	<-logged
	_ = out.Close()
	how := cmd.ProcessState.String()
	if lost != nil {
		how = "stopped, since nobody could reach it: " + lost.Error()
	}
	return how, err
}

// awaitEnd waits for the server, passing on the wish to stop. A server that nobody can reach is stopped too;
// the error is why.
func (p *Postgres) awaitEnd(ctx context.Context, server *os.Process, ended <-chan error) (lost error) {
	stop, quit := ctx.Done(), p.quit
	looking, stopLooking := context.WithCancel(ctx)
	defer stopLooking()
	gone := p.watchSocket(looking)
	var patience <-chan time.Time
	for {
		select {
		case <-ended:
			return lost
		case lost = <-gone:
			gone = nil
			p.config.Logger.Error("the socket of the private Postgres is gone, restarting it", "error", lost)
			_ = server.Signal(syscall.SIGINT)
			patience = time.After(stopPatience)
		case <-patience:
			_ = server.Signal(syscall.SIGQUIT)
		case <-stop:
			stop = nil
			_ = server.Signal(syscall.SIGINT) // fast shutdown
		case <-quit:
			quit = nil
			_ = server.Signal(syscall.SIGQUIT) // immediate shutdown
		}
	}
}

// watchSocket looks again and again, until ctx ends, whether the server can be reached by the socket through
// which it once was, and tells when it cannot, two looks in a row. A process that lives is not yet a service:
// somebody may have removed the socket.
func (p *Postgres) watchSocket(ctx context.Context) <-chan error {
	gone := make(chan error, 1)
	go func() {
		tick := time.NewTicker(p.config.restarts.lookEvery)
		defer tick.Stop()
		reached, misses := false, 0
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			err := unreachable(ctx, p.sockets)
			switch {
			case err == nil:
				reached, misses = true, 0
			case reached && misses == 1:
				gone <- err
				return
			case reached:
				misses++
			}
		}
	}()
	return gone
}

// awaitOrphans waits for the processes that a killed server leaves behind;
// they end as soon as they notice.
func (p *Postgres) awaitOrphans() error {
	claim, err := p.lock.claimServer(context.Background(), func(string) {})
	if err != nil {
		return err
	}
	return claim.Close()
}

// arguments are the server's. Settings stand here and not in the data
// directory's postgresql.conf, so that a new version can change them.
func (p *Postgres) arguments() []string {
	settings := map[string]string{
		"listen_addresses":        "",
		"port":                    socketPort,
		"unix_socket_directories": p.sockets,
		"unix_socket_permissions": "0700",
		"cluster_name":            "fabric-guild",
		"max_connections":         "100",
		"shared_buffers":          "128MB",
		"huge_pages":              "off", // containers may see but not use them
		"fsync":                   "on",
		"timezone":                "UTC",
		// Short transactions gain nothing by these, and parallel workers need
		// more /dev/shm than containers have.
		"jit":                             "off",
		"max_parallel_workers_per_gather": "0",
		// To us, in English; no statements and no row contents.
		"log_destination":         "stderr",
		"logging_collector":       "off",
		"lc_messages":             "C",
		"log_line_prefix":         "%b: ",
		"log_error_verbosity":     "terse",
		"log_min_error_statement": "panic",
	}
	maps.Copy(settings, p.config.Settings)
	args := []string{"-D", p.cluster.data}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	return args
}
