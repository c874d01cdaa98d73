// Package pgrun runs a private Postgres, for a server without -database-url.
// It finds or fetches the Postgres binaries, and keeps one cluster in a state
// directory. It serves the cluster on a unix socket that only one user can open,
// restarts the server when it dies, and stops it with the program.
package pgrun

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// Owner is the plain role that owns the database of the same name.
	Owner = "fabric"
	// Superuser is the cluster's bootstrap role, for administration and tests.
	Superuser = "postgres"
)

// stopPatience is how long a server may take to shut down after its start failed
// or its socket is gone. After that it is stopped at once.
const stopPatience = 10 * time.Second

// Config tells Start where the cluster lives and how it runs.
type Config struct {
	// Dir is the state directory. Start makes it if it is missing. The cluster is
	// in Dir/postgres. Postgres refuses to run as root. So a program that runs as
	// root hands Postgres to another user, who must be able to enter Dir and all
	// its parents.
	Dir string
	// BinDir holds the Postgres binaries. If it is empty, Start searches for them:
	// first for the cluster's own major version, then for the newest.
	BinDir string
	// Source is the URL from which Start fetches the binaries into Dir, once, if the machine has none. It
	// must serve the same files at the same paths as DefaultSource. If it is empty, Start does not fetch.
	Source string
	// Fetching is called during the download with the number of bytes so far and in all. total is -1 if it is
	// unknown. Fetching may be nil.
	Fetching func(done, total int64)
	// RunDir is the preferred parent of the socket's directory. If it is empty, too long, or closed to the
	// server's user, Start uses Dir. If Dir is unsuitable too, Start uses /run or a directory for temporary
	// files.
	RunDir string
	// Settings are server settings. They override the built-in ones.
	Settings map[string]string
	// Logger gets the log of Postgres and messages about restarts. nil discards them.
	Logger *slog.Logger
	// Progress is called with one line for people before work that takes seconds.
	// It may be nil.
	Progress func(line string)

	restarts restartPolicy     // zero: defaultRestarts
	places   []string          // nil: usualPlaces
	digests  map[string]string // archive name to SHA-256; nil: releaseDigests
}

// Postgres is a running private server.
type Postgres struct {
	cluster cluster
	lock    *stateLock
	config  Config
	sockets string // the socket's directory
	log     *serverLog

	ready chan struct{} // closed after the first successful start
	stop  context.CancelFunc
	quit  chan struct{} // closed when the context of Stop ends too early
	once  sync.Once     // closes quit
	done  chan struct{}
	err   error        // set before done is closed
	pid   atomic.Int64 // 0 while no server runs
}

// Start makes the cluster if it is missing, starts its server, and returns when
// the server accepts connections. It locks the state directory: a second
// instance on the same directory gets an error. If an earlier instance was
// killed, Start waits up to a minute for that instance's server to end. ctx
// bounds only the start. The server runs until Stop. On Linux the kernel also
// shuts it down when the calling process dies.
func Start(ctx context.Context, cfg Config) (*Postgres, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string) {}
	}
	if cfg.Dir == "" {
		return nil, errors.New("a private Postgres needs a state directory")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Dir = dir
	if cfg.places == nil {
		cfg.places = usualPlaces()
	}
	cfg.places = append(cfg.places, fetchedPlaces(dir))
	if cfg.digests == nil {
		cfg.digests = releaseDigests
	}
	if cfg.restarts == (restartPolicy{}) {
		cfg.restarts = defaultRestarts
	}

	c, lock, err := openState(ctx, cfg)
	if err != nil {
		return nil, err
	}
	sockets, err := c.makeSocketDir(ctx, socketPlaces(cfg.RunDir, dir))
	if err == nil {
		err = lock.record(sockets)
	}
	if err != nil {
		lock.release()
		return nil, err
	}

	life, stop := context.WithCancel(context.Background())
	p := &Postgres{
		cluster: c,
		lock:    lock,
		config:  cfg,
		sockets: sockets,
		log:     &serverLog{logger: cfg.Logger},
		ready:   make(chan struct{}),
		stop:    stop,
		quit:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	go p.supervise(life)
	if err := p.awaitConnections(ctx); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
		defer cancel()
		_ = p.Stop(ctx)
		if cause := p.Err(); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("start the private Postgres in %s: %w", p.cluster.data, err)
	}
	close(p.ready)
	return p, nil
}

// Exists reports whether a state directory has a private Postgres, whether it runs or not.
func Exists(dir string) bool { return exists(clusterIn(dir).data) }

// clusterIn returns the places of the cluster of a state directory.
func clusterIn(dir string) cluster {
	home := filepath.Join(dir, "postgres")
	return cluster{home: home, data: filepath.Join(home, "data")}
}

// URL returns the connection string of the database, for pgx and libpq. It stays
// the same when the server is restarted.
func (p *Postgres) URL() string { return p.URLFor(Owner, Owner) }

// URLFor returns the connection string for another role or database of the
// cluster.
func (p *Postgres) URLFor(role, database string) string {
	// libpq does not read "+" as a space.
	host := strings.ReplaceAll(url.QueryEscape(p.sockets), "+", "%20")
	return "postgres://" + url.PathEscape(role) + "@/" + url.PathEscape(database) +
		"?host=" + host + "&port=" + socketPort
}

// Pid returns the server's current process id, or 0 while no server runs. The id
// changes when the server is restarted.
func (p *Postgres) Pid() int { return int(p.pid.Load()) }

// Done returns a channel that is closed when the server has ended for good:
// either Stop stopped it, or it died too often. Err tells which.
func (p *Postgres) Done() <-chan struct{} { return p.done }

// Err returns why the server was given up. It returns nil until Done is closed,
// and after an orderly stop.
func (p *Postgres) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Stop disconnects all clients and shuts the server down. It blocks until all
// processes of the server have ended and the state directory is free. If ctx ends
// first, Stop makes the server end at once. Then the next start needs a recovery,
// but no data is lost. Even then Stop waits for the end of the server, and returns
// ctx's error. Stop may be called any number of times.
func (p *Postgres) Stop(ctx context.Context) error {
	p.stop()
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
	}
	p.once.Do(func() { close(p.quit) })
	<-p.done
	if p.err != nil {
		return p.err
	}
	return fmt.Errorf("postgres was stopped at once: %w", ctx.Err())
}

// awaitConnections blocks until the server accepts connections. It returns an
// error if the server ends, if it refuses a connection for good, or if ctx ends.
func (p *Postgres) awaitConnections(ctx context.Context) error {
	if _, err := pgx.ParseConfig(p.URL()); err != nil { // pgx reads PG* variables too
		return fmt.Errorf("is one of the environment's PG* variables wrong? %w", err)
	}
	const pause = 20 * time.Millisecond
	slow := time.NewTimer(5 * time.Second)
	defer slow.Stop()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		err := ping(ctx, p.URL())
		if err == nil {
			return nil
		}
		// cannot_connect_now means that the server is starting or recovering.
		const cannotConnectNow = "57P03"
		var refused *pgconn.PgError
		if errors.As(err, &refused) && refused.Code != cannotConnectNow {
			return err
		}
		select {
		case <-tick.C:
		case <-slow.C:
			p.config.Progress("waiting for the private Postgres to recover in " + p.cluster.data)
		case <-p.done:
			return errors.New("postgres ended")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func ping(ctx context.Context, connString string) error {
	conn, err := pgx.Connect(ctx, connString)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	return conn.Ping(ctx)
}

// openState locks the state directory and makes sure that it has a complete
// cluster that no server uses. The caller must release the returned lock.
func openState(ctx context.Context, cfg Config) (_ cluster, _ *stateLock, err error) {
	c := clusterIn(cfg.Dir)
	c.account, err = accountFor(c.home)
	if err != nil {
		return c, nil, err
	}
	if err := makeStateDir(cfg.Dir, c.account); err != nil {
		return c, nil, err
	}
	lock, err := lockState(cfg.Dir)
	if err != nil {
		return c, nil, err
	}
	defer func() {
		if err != nil {
			lock.release()
		}
	}()
	claim, err := lock.claimServer(ctx, cfg.Progress)
	if err != nil {
		return c, nil, err
	}
	defer func() { _ = claim.Close() }()
	if err := lock.removeSockets(); err != nil {
		return c, nil, err
	}
	if err := c.prepare(ctx, cfg, claim); err != nil {
		return c, nil, err
	}
	return c, lock, nil
}
