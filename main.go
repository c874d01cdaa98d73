// Command fabric-guild is the guild backend of Fabric. Clients send every mutation by HTTP, and each user
// reads one Server-Sent Events stream. This file has the flags, the wiring, and the order of start and stop.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/pgrun"
	"fabric-guild/events/live"
	"fabric-guild/events/remote"
	"fabric-guild/events/tail"
	"fabric-guild/handlers"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/bench"
	"fabric-guild/handlers/center"
	"fabric-guild/handlers/command"
	"fabric-guild/handlers/config"
)

const usage = `fabric-guild is a chat backend: plain HTTP in, one event stream per user out.

  fabric-guild [serve]                     run the server
  fabric-guild token [-ttl 24h] USER...    print a token for each user
  fabric-guild token -rotate               make a new key: all older tokens end within a minute
  fabric-guild tail [-exec COMMAND]        follow your stream for ever: print it, or run a command for each event
  fabric-guild admin refresh               have the running server ask Center anew who the admin is
  fabric-guild migrate [up|status]         bring the database's schema up to date, or show its state
  fabric-guild bench [-streams 1000]       measure a running server
  fabric-guild version

Each command lists its flags with -h. Every flag has an environment twin: -database-url is
FABRIC_BACKEND_GUILD_DATABASE_URL.
`

func main() {
	if os.Getpid() == 1 {
		if code, ok := command.RunAsInit(); ok {
			os.Exit(code)
		}
	}
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // under nohup the program must outlive its terminal
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	var told *remote.Error
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errTold):
		os.Exit(1)
	case errors.Is(err, config.ErrUsage):
		fmt.Fprintln(os.Stderr, "fabric-guild:", err)
		os.Exit(2)
	case errors.As(err, &told):
		fmt.Fprintln(os.Stderr, "fabric-guild:", err)
		os.Exit(told.ExitCode())
	default:
		fmt.Fprintln(os.Stderr, "fabric-guild:", command.OneLine(err))
		os.Exit(1)
	}
}

// run runs the command that args name, serve by default. It blocks until the command is done, or until ctx
// has ended and everything has stopped.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	command := "serve"
	if len(args) > 0 && (!strings.HasPrefix(args[0], "-") || args[0] == "--version") {
		command, args = strings.TrimLeft(args[0], "-"), args[1:]
	}
	if command == "serve" && len(args) > 0 && slices.Contains([]string{"-h", "-help", "--help"}, args[0]) {
		_, _ = io.WriteString(stdout, usage+"\nThe flags of serve:\n\n")
	}
	switch command {
	case "serve":
		return serve(ctx, args, getenv, stderr)
	case "token":
		return token(args, getenv, stdout, stderr)
	case "tail":
		return follow(ctx, args, getenv, stdout, stderr)
	case "admin":
		return admin(ctx, args, getenv, stdout, stderr)
	case "migrate":
		return migrate(ctx, args, getenv, stdout, stderr)
	case "bench":
		var dir string
		return bench.Command(ctx, args, getenv, stdout, stderr, state(&dir, getenv), &dir)
	case "version":
		_, err := fmt.Fprintln(stdout, version())
		return err
	case "help":
		_, err := io.WriteString(stdout, usage)
		return err
	}
	return fmt.Errorf("there is no command %q: %w", command, config.ErrUsage)
}

// state returns a function that defines the flag -state and stores its value in dir.
func state(dir *string, getenv func(string) string) func(*flag.FlagSet) {
	return func(f *flag.FlagSet) {
		f.StringVar(dir, "state", config.DefaultState(os.Getuid(), getenv), "`directory` of the token key and, without a database URL, of the private Postgres")
	}
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "fabric-guild (unknown build)"
	}
	return "fabric-guild " + info.Main.Version + " " + info.GoVersion
}

func token(args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	var (
		dir    string
		ttl    time.Duration
		guilds []string
		rotate bool
	)
	users, err := config.Parse("token", args, getenv, stderr, state(&dir, getenv), func(f *flag.FlagSet) {
		f.DurationVar(&ttl, "ttl", 24*time.Hour, "how long the tokens are valid")
		f.Func("guild", "a `guild` that the tokens are for, repeatable; none: all", func(g string) error {
			guilds = append(guilds, g)
			return nil
		})
		f.BoolVar(&rotate, "rotate", false, "make a new key first: all older tokens end within a minute")
	})
	if err != nil {
		return err
	}
	if len(users) == 0 && !rotate {
		return fmt.Errorf("token needs the id of a user: %w", config.ErrUsage)
	}
	if ttl <= 0 {
		return fmt.Errorf("-ttl must be more than 0: %w", config.ErrUsage)
	}
	if err := noFlags(users); err != nil {
		return err
	}
	tokens, err := openTokens(dir)
	if err != nil {
		return err
	}
	if tokens.Fresh() {
		_, _ = fmt.Fprintf(stderr, "There was no key in %s, so this made one: only a server with that -state takes its tokens.\n", dir)
	}
	if rotate {
		if err := tokens.Rotate(); err != nil {
			return err
		}
	}
	for _, user := range users {
		t, err := tokens.Sign(user, guilds, ttl)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(stdout, t); err != nil {
			return err
		}
	}
	return nil
}

// noFlags returns an error if one of the arguments after a command's flags is a flag too: flag.Parse has
// stopped before it, so the flag would have no effect.
func noFlags(rest []string) error {
	for _, arg := range rest {
		if strings.HasPrefix(arg, "-") {
			return fmt.Errorf("flags go before the rest, %s came after: %w", arg, config.ErrUsage)
		}
	}
	return nil
}

func openTokens(state string) (*auth.Tokens, error) {
	// The private Postgres may run as another user, who must be able to pass through the directory.
	if err := pgrun.MakeDirs(state, 0o711); err != nil {
		return nil, fmt.Errorf("the state directory (choose another with -state): %w", err)
	}
	return auth.OpenTokens(state)
}

// admin makes the running server refresh its admin, and prints the answer. It is no error if there is no
// admin, or if Center does not answer.
func admin(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] != "refresh" {
		return fmt.Errorf("admin takes refresh: %w", config.ErrUsage)
	}
	var (
		dir     string
		address config.Address
		cert    config.TLS
	)
	rest, err := config.Parse("admin refresh", args[1:], getenv, stderr, state(&dir, getenv), address.Flags, cert.Flags)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("admin refresh takes no %q: %w", rest[0], config.ErrUsage)
	}
	if err := address.Check(); err != nil {
		return err
	}
	answer, err := handlers.RequestRefresh(ctx, dir, address.Addr, address.BasePath, cert.Cert)
	if err != nil {
		return errors.Join(errTold, json.NewEncoder(stderr).Encode(map[string]any{"ok": false, "error": err.Error()}))
	}
	return json.NewEncoder(stdout).Encode(answer)
}

func follow(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	var command tail.Command
	rest, err := config.Parse("tail", args, getenv, stderr, command.Flags)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("tail takes no %q: %w", rest[0], config.ErrUsage)
	}
	return command.Run(ctx, stdout, stderr)
}

// errTold stands for an error whose text has been written already. main only sets the exit code.
var errTold = errors.New("")

func migrate(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	var (
		dir  string
		conf config.Database
	)
	rest, err := config.Parse("migrate", args, getenv, stderr, state(&dir, getenv), conf.Flags)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		rest = []string{"up"}
	}
	if err := noFlags(rest); err != nil {
		return err
	}
	if len(rest) > 1 || rest[0] != "up" && rest[0] != "status" {
		return fmt.Errorf("migrate takes up or status: %w", config.ErrUsage)
	}
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	stopPostgres, _, err := openPostgres(ctx, &conf, dir, logger, stderr)
	if err != nil {
		return err
	}
	defer stopPostgres()
	if rest[0] == "up" {
		if err := db.Migrate(ctx, conf.URL); err != nil {
			return err
		}
	}
	migrations, err := db.Migrations(ctx, conf.URL)
	if err != nil {
		return err
	}
	for _, m := range migrations {
		state := "pending"
		if m.Applied {
			state = "applied"
		}
		if m.Name == "" {
			m.Name = fmt.Sprintf("%05d, which this program does not know: a newer one has applied it", m.Version)
		}
		if _, err := fmt.Fprintf(stdout, "%-8s %s\n", state, m.Name); err != nil {
			return err
		}
	}
	return nil
}

// openPostgres starts the private Postgres and sets c.URL, if c has no URL. The caller must call stop, which
// blocks until the private Postgres has stopped, for 30 seconds at most. gone is closed when the private
// Postgres has ended and will not start again; with a URL of the caller, gone is nil.
func openPostgres(ctx context.Context, c *config.Database, dir string, logger *slog.Logger, stderr io.Writer) (stop func(), gone <-chan struct{}, err error) {
	if c.URL != "" {
		return func() {}, nil, nil
	}
	pg, err := pgrun.Start(ctx, pgrun.Config{
		Dir: dir, BinDir: c.PGBin, Source: c.PGSource, Logger: logger, Fetching: pgrun.Bar(stderr, command.IsTerminal(stderr)),
		Progress: func(line string) { _, _ = fmt.Fprintln(stderr, line) },
	})
	if err != nil {
		return nil, nil, err
	}
	c.URL = pg.URL()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := pg.Stop(ctx); err != nil {
			logger.Error("the private Postgres did not stop cleanly", "error", err)
		}
	}, pg.Done(), nil
}

// openCenter returns a client of Center and the admin that Center names. Without a URL of Center the client
// is nil, and the admin is the one from the flags, or nobody.
func openCenter(c *config.Serve, logger *slog.Logger) (*center.Client, *center.AdminCache, error) {
	if c.CenterURL == "" {
		if c.AdminUser == "" {
			return nil, center.FixedAdmin(nil), nil
		}
		return nil, center.FixedAdmin(&center.Admin{UserID: c.AdminUser}), nil
	}
	client, err := center.New(c.CenterURL, c.CenterKey, logger)
	if err != nil {
		return nil, nil, err
	}
	return client, center.NewAdminCache(client, logger), nil
}

// listen opens the certificate, if there is one, and the port. If MaxStreams is 0, listen sets MaxStreams to
// the number of streams that the limit of open files has room for. If MaxStreams is more than that, listen
// only logs a warning.
func listen(ctx context.Context, c *config.Serve, logger *slog.Logger) (l *handlers.Listener, cert *handlers.Certificate, err error) {
	if c.Cert != "" {
		if cert, err = handlers.OpenCertificate(c.Cert, c.Key, logger); err != nil {
			return nil, nil, err
		}
	}
	wanted := c.MaxStreams
	room, connections, err := handlers.Room(wanted)
	if err != nil {
		return nil, nil, err
	}
	if wanted > room {
		logger.Warn("the limit of open files is too low for -max-streams: raise it (ulimit -n, LimitNOFILE)", "room_for", room)
	}
	if wanted == 0 {
		c.MaxStreams = room
	}
	if l, err = handlers.Listen(ctx, c.Addr, connections, c.TrustedProxies); err != nil {
		return nil, nil, fmt.Errorf("listen (choose another address with -addr): %w", err)
	}
	return l, cert, nil
}

func serve(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) (err error) {
	var (
		dir string
		c   config.Serve
	)
	rest, err := config.Parse("serve", args, getenv, stderr, state(&dir, getenv), c.Flags)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("serve takes no %q: %w", rest[0], config.ErrUsage)
	}
	if err := c.Check(); err != nil {
		return err
	}
	// The server must go on when the reader of its log ends.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	logger, people := c.Log.Logger(stderr), stderr
	if c.Log.JSON() {
		people = slog.NewLogLogger(logger.Handler(), slog.LevelInfo).Writer()
		defer func() {
			if err != nil {
				logger.Error("the server ends", "error", command.OneLine(err))
				err = errTold
			}
		}()
	}
	if getenv("GOGC") == "" {
		// Each collection walks the ring. Fewer collections make posts 4 % cheaper; in return, garbage may take
		// twice the memory that is in use.
		debug.SetGCPercent(200)
	}
	tokens, err := openTokens(dir)
	if err != nil {
		return err
	}
	operator, err := auth.OpenOperatorKey(dir)
	if err != nil {
		return err
	}
	authority, adminCache, err := openCenter(&c, logger)
	if err != nil {
		return err
	}
	if authority != nil {
		defer authority.Close()
	}
	defer adminCache.Close()
	// The port comes first: a second server must fail before it touches the database.
	listener, cert, err := listen(ctx, &c, logger)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // Serve may have closed it already, which does no harm
	if c.DebugAddr != "" {
		stopProfiles, err := handlers.ServeProfiles(ctx, c.DebugAddr, logger)
		if err != nil {
			return err
		}
		defer stopProfiles()
	}
	stopPostgres, postgresGone, err := openPostgres(ctx, &c.Database, dir, logger, people)
	if err != nil {
		return err
	}
	defer stopPostgres()
	if err := db.Migrate(ctx, c.URL); err != nil {
		return err
	}
	database, err := db.Open(ctx, c.URL)
	if err != nil {
		return err
	}
	defer database.Close()
	head, err := database.Head(ctx)
	if err != nil {
		return fmt.Errorf("find the end of the log: %w", err)
	}
	router := live.NewRouter(database, head)
	router.Logger = logger
	tailer := live.NewTailer(database, router, database.Bell(), logger)
	server, handler := handlers.New(handlers.Config{
		Logger: logger, DB: database, Router: router, Tailer: tailer,
		Tokens: tokens, Center: authority, Admin: adminCache, Operator: operator, Listener: listener,
		BasePath: c.BasePath, R3labsOnly: c.Transport == "r3labs", TwoState: c.Delivery == "two-state",
		StreamMaxAge: c.StreamMaxAge,
		RateLimit:    c.RateLimit, MaxStreams: c.MaxStreams, MaxStreamsPerAddress: c.MaxStreamsPerAddress,
		TrustedProxies: c.TrustedProxies, AllowOrigins: c.AllowOrigins, Hosts: c.Hosts(listener.Addr()),
	})

	var background sync.WaitGroup
	reading, stopReading := context.WithCancel(context.Background())
	background.Go(func() { tailer.Run(reading) })
	background.Go(func() { router.RunTrim(reading) })
	background.Go(func() { database.RunSweeper(reading, logger) })
	background.Go(func() { database.RunWakeSweeper(reading, router.Position, server.RingWakes, logger) })
	background.Go(func() { database.RunRetention(reading, c.Retention, logger) })
	background.Go(func() { database.RunDoorbell(reading, cmp.Or(c.DoorbellURL, c.URL), logger) })
	web := handlers.NewHTTPServer(handler, cert, logger)
	failed := make(chan error, 1)
	background.Go(func() { failed <- handlers.Serve(web, listener) })
	base := handlers.BaseURL(cert, listener.Addr().String(), c.BasePath)
	logger.Info("ready", "url", base, "version", version(), "private_postgres", postgresGone != nil,
		"center", authority != nil, "delivery", c.Delivery, "transport", c.Transport, "max_streams", c.MaxStreams)
	if !c.Log.JSON() {
		_, _ = io.WriteString(stderr, handlers.Greeting(base, config.StateFlag(dir, getenv)))
	}

	select {
	case <-ctx.Done():
	case err = <-failed:
	case <-postgresGone:
		err = errors.New("the private Postgres has ended and does not start again; the log above says why")
	}
	// Streams end first, so that their clients reconnect to another server. Requests finish next. The background
	// tasks stop last, because streams and requests need them.
	logger.Info("stopping: streams end, requests finish", "streams", router.Streams())
	server.Drain()
	within(c.DrainStreams, router.Close)
	within(c.DrainRequests, func(ctx context.Context) {
		if web.Shutdown(ctx) != nil {
			logger.Warn("some requests did not finish in time and are cut")
			err = errors.Join(err, web.Close())
		}
	})
	stopReading()
	background.Wait()
	logger.Info("streams and requests have ended")
	return err
}

// within calls do with a context that ends after d, and blocks until do returns.
func within(d time.Duration, do func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	do(ctx)
}
