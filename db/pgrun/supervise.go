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

// restartPolicy says how a server that dies is restarted. The backoff doubles from
// firstPause to longestPause. A server that dies youngDeaths times in a row, each
// time before youngAge, is not restarted any more.
type restartPolicy struct {
	firstPause, longestPause time.Duration
	youngAge                 time.Duration
	youngDeaths              int
	lookEvery                time.Duration // interval of the checks of the socket
}

var defaultRestarts = restartPolicy{
	firstPause:   100 * time.Millisecond,
	longestPause: 2 * time.Second,
	youngAge:     30 * time.Second,
	youngDeaths:  150, // about five minutes: somebody may free space on a full disk
	lookEvery:    2 * time.Second,
}

// supervise runs the server and restarts it when it dies. When ctx ends, or after
// too many deaths, supervise frees the state directory and closes done.
func (p *Postgres) supervise(ctx context.Context) {
	// The kernel shuts the server down when the thread that started it ends, so
	// this goroutine must keep its thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	p.err = p.serve(ctx)
	p.stop()
	p.err = errors.Join(p.err, p.lock.removeSockets())
	p.lock.release()
}

// serve runs servers until ctx ends. It returns an error if the first start fails,
// or after too many deaths.
func (p *Postgres) serve(ctx context.Context) error {
	policy := p.config.restarts
	pause := policy.firstPause
	deaths := 0
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
			pause = policy.firstPause
			deaths = 0
		}
		deaths++
		if deaths >= policy.youngDeaths {
			return fmt.Errorf("gave up after %d attempts: %w", deaths, err)
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

// runServer runs one server until it ends, and returns how it ended. When ctx
// ends, runServer shuts the server down. If runServer returns no error, all
// processes of the server have ended.
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
	// The command is not bound to ctx: awaitEnd decides how to stop the server.
	c := p.cluster
	cmd := c.account.command(context.WithoutCancel(ctx), c.home, c.binaries.path("postgres"),
		p.arguments()...)
	setDeathSignal(cmd.SysProcAttr)
	cmd.Stdout = in
	cmd.Stderr = in
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
		_ = out.Close() // ends the reader, because an orphan still holds the pipe open
	}
	<-logged
	_ = out.Close()
	how := cmd.ProcessState.String()
	if lost != nil {
		how = "stopped because its socket was gone: " + lost.Error()
	}
	return how, err
}

// awaitEnd blocks until the server ends. It shuts the server down when ctx ends, and stops it at once when
// p.quit is closed. It also shuts down a server whose socket is gone, and then returns why the socket is
// unreachable.
func (p *Postgres) awaitEnd(ctx context.Context, server *os.Process, ended <-chan error) (lost error) {
	stop := ctx.Done()
	quit := p.quit
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

// watchSocket checks regularly, until ctx ends, whether the server's socket is reachable. A running process
// is not enough: somebody may remove its socket. The returned channel gets the error if a socket that was
// reachable before is unreachable in two checks in a row.
func (p *Postgres) watchSocket(ctx context.Context) <-chan error {
	gone := make(chan error, 1)
	go func() {
		tick := time.NewTicker(p.config.restarts.lookEvery)
		defer tick.Stop()
		reached := false
		misses := 0
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			err := unreachable(ctx, p.sockets)
			switch {
			case err == nil:
				reached = true
				misses = 0
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

// awaitOrphans blocks until the processes that a killed server leaves behind have
// ended. They end when they notice that the server is dead.
func (p *Postgres) awaitOrphans() error {
	claim, err := p.lock.claimServer(context.Background(), func(string) {})
	if err != nil {
		return err
	}
	return claim.Close()
}

// arguments returns the server's arguments. They contain all settings. The data
// directory's postgresql.conf has none, so that a new version of this program can
// change them.
func (p *Postgres) arguments() []string {
	settings := map[string]string{
		"listen_addresses":        "",
		"port":                    socketPort,
		"unix_socket_directories": p.sockets,
		"unix_socket_permissions": "0700",
		"cluster_name":            "fabric-guild",
		"max_connections":         "100",
		"shared_buffers":          "128MB",
		"huge_pages":              "off", // a container may see huge pages that it cannot use
		"fsync":                   "on",
		"timezone":                "UTC",
		// Short transactions gain nothing from JIT or parallel workers. Parallel
		// workers need more /dev/shm than containers have.
		"jit":                             "off",
		"max_parallel_workers_per_gather": "0",
		// The log goes to this process, in English, without statements and without
		// the contents of rows.
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
