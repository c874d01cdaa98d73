// Package pgrun runs a private Postgres: the database of a server that was
// given none. It finds the machine's own Postgres binaries, keeps one cluster
// in a state directory, serves it on a unix socket that only its user can
// open, restarts it when it dies and stops it with the program.
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

// stopPatience is what a server gets to shut down when its start has not succeeded.
const stopPatience = 10 * time.Second

// Config tells Start where the cluster lives and how it runs.
type Config struct {
	// Dir is the state directory, made when it is missing. The cluster is in
	// Dir/postgres. A program that runs as root hands Postgres to another user
	// (it refuses root), who must be able to enter Dir and all above it.
	Dir string
	// BinDir holds the Postgres binaries. Empty: they are searched for, those
	// of the cluster's own major version first, then the newest.
	BinDir string
	// Source is where binaries are fetched from, once, into Dir, when there are none: a URL below which the
	// archives of DefaultSource lie, the same bytes at the same paths. Empty: they are not fetched.
	Source string
	// Fetching is called while they come, with the bytes that have and those to come, -1 where that is
	// not known; nil: nobody is told.
	Fetching func(done, total int64)
	// RunDir is where the socket's directory is made. If it is empty, too long or closed to the server's user,
	// that is Dir, and if Dir will not do either, /run or a directory for temporary files.
	RunDir string
	// Settings are server settings that win over the built-in ones.
	Settings map[string]string
	// Logger gets what Postgres logs and what befalls it; nil: nothing.
	Logger *slog.Logger
	// Progress is called with one line for people before work that takes
	// seconds; nil: nobody is told.
	Progress func(line string)

	restarts restartPolicy // zero: defaultRestarts
	places   []string      // nil: usualPlaces
	// digests are the SHA-256 of archives by their names; nil: releaseDigests.
	digests map[string]string
}

// Postgres is a running private server.
type Postgres struct {
	cluster cluster
	lock    *stateLock
	config  Config
	sockets string // the socket's directory
	log     *serverLog

	ready chan struct{} // closed once the first start has succeeded
	stop  context.CancelFunc
	quit  chan struct{} // closed when a stop has lost its patience
	once  sync.Once
	done  chan struct{}
	err   error // set before done is closed
	pid   atomic.Int64
}

// Start makes the cluster when there is none yet, starts its server and
// returns when that accepts connections. It takes the state directory for
// itself: a second instance on it is refused. Where an earlier instance was
// killed, Start waits up to a minute for its server to end. The context bounds
// the start only; the server runs until Stop, and is told to shut down when the
// calling process dies, however it dies.
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

// URL is the connection string of the database, for pgx and libpq alike. It
// stays the same over restarts of the server.
func (p *Postgres) URL() string { return p.URLFor(Owner, Owner) }

// URLFor is the connection string for another role or database of the cluster.
func (p *Postgres) URLFor(role, database string) string {
	// libpq does not read "+" as a space.
	host := strings.ReplaceAll(url.QueryEscape(p.sockets), "+", "%20")
	return "postgres://" + url.PathEscape(role) + "@/" + url.PathEscape(database) + "?host=" + host + "&port=" + socketPort
}

// Pid is the server's process id now, or 0 while none runs. It changes when
// the server is restarted.
func (p *Postgres) Pid() int { return int(p.pid.Load()) }

// Done is closed when the server has ended for good: it was stopped, or it
// died again and again. Err then tells which.
func (p *Postgres) Done() <-chan struct{} { return p.done }

// Err is nil until Done is closed and after an orderly stop; otherwise it is
// why the server was given up.
func (p *Postgres) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Stop shuts the server down, disconnecting its clients, and returns when all
// its processes have ended and the state directory is free. When ctx ends
// first, the server is told to drop everything at once, which costs a recovery
// at the next start and no data; Stop then still waits for it and returns
// ctx's error. It may be called any number of times.
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

func (p *Postgres) awaitConnections(ctx context.Context) error {
	if _, err := pgx.ParseConfig(p.URL()); err != nil { // it takes up what stands in the environment, too
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
		var refused *pgconn.PgError
		if errors.As(err, &refused) && refused.Code != "57P03" { // cannot_connect_now: starting or recovering
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

// openState locks the state directory and leaves a complete cluster in it that
// no server uses.
func openState(ctx context.Context, cfg Config) (_ cluster, _ *stateLock, err error) {
	c := cluster{home: filepath.Join(cfg.Dir, "postgres")}
	c.data = filepath.Join(c.home, "data")
	if c.account, err = accountFor(c.home); err != nil {
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
