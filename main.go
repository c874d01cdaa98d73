// Command fabric-guild is the guild backend of Fabric: HTTP for every mutation, and one Server-Sent Events
// stream per user. This file has the flags, the wiring, and the order of start and stop.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/pgrun"
	"fabric-guild/events"
	"fabric-guild/handlers"
	"fabric-guild/handlers/center"
	"fabric-guild/handlers/chat"
)

const usage = `fabric-guild is a chat backend: plain HTTP in, one event stream per user out.

  fabric-guild [serve]                     run the server
  fabric-guild token [-ttl 24h] USER...    print a token for each user
  fabric-guild token -rotate               make a new key: all older tokens end within a minute
  fabric-guild admin refresh               have the running server ask Center anew who the admin is
  fabric-guild migrate [up|status]         bring the database's schema up to date, or show its state
  fabric-guild version

Each command lists its flags with -h. Every flag has an environment twin: -database-url is
FABRIC_BACKEND_GUILD_DATABASE_URL.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errTold):
		os.Exit(1)
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "fabric-guild:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "fabric-guild:", oneLine(err))
		os.Exit(1)
	}
}

// oneLine is what an error says, in one line: the driver's may have several, and twice the same.
func oneLine(err error) string {
	var lines []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}

var errUsage = errors.New("see fabric-guild -h")

// run is the program: it returns when its command is done, or after ctx has ended and all is stopped.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	command := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	if command == "serve" && len(args) > 0 && slices.Contains([]string{"-h", "-help", "--help"}, args[0]) {
		_, _ = io.WriteString(stdout, usage+"\nThe flags of serve:\n\n")
	}
	switch command {
	case "serve":
		return serve(ctx, args, getenv, stderr)
	case "token":
		return token(args, getenv, stdout, stderr)
	case "admin":
		return admin(ctx, args, getenv, stdout, stderr)
	case "migrate":
		return migrate(ctx, args, getenv, stdout, stderr)
	case "version":
		_, err := fmt.Fprintln(stdout, version())
		return err
	case "help":
		_, err := io.WriteString(stdout, usage)
		return err
	}
	return fmt.Errorf("there is no command %q: %w", command, errUsage)
}

// config is everything that flags and environment set. Packages get its values, never the environment.
type config struct {
	addr, basePath, transport   string
	delivery, adminUser         string
	centerURL, centerKey        string
	state, databaseURL, pgBin   string
	logLevel                    slog.Level
	ttl                         time.Duration
	guilds                      []string
	rotate                      bool
	drainStreams, drainRequests time.Duration
}

const envPrefix = "FABRIC_BACKEND_GUILD_"

// parse reads the flags of one command; what no flag sets comes from the flag's environment twin.
func (c *config) parse(name string, args []string, getenv func(string) string, stderr io.Writer, define func(*flag.FlagSet)) (rest []string, err error) {
	f := flag.NewFlagSet("fabric-guild "+name, flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&c.state, "state", defaultState(getenv), "`directory` of the token key and, without a database URL, of the private Postgres")
	define(f)
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", err, errUsage)
	}
	given := map[string]bool{}
	f.Visit(func(fl *flag.Flag) { given[fl.Name] = true })
	f.VisitAll(func(fl *flag.Flag) {
		if given[fl.Name] {
			return
		}
		env := envPrefix + strings.ToUpper(strings.ReplaceAll(fl.Name, "-", "_"))
		value := getenv(env)
		if value == "" && fl.Name == "database-url" {
			env, value = "DATABASE_URL", getenv("DATABASE_URL")
		}
		if value == "" || err != nil {
			return
		}
		if e := fl.Value.Set(value); e != nil {
			err = fmt.Errorf("environment variable %s: %w: %w", env, e, errUsage)
		}
	})
	if err != nil {
		return nil, err
	}
	return f.Args(), nil
}

func (c *config) database(f *flag.FlagSet) {
	f.StringVar(&c.databaseURL, "database-url", "", "`URL` of Postgres; empty: a private one in the state directory")
	f.StringVar(&c.pgBin, "postgres-bin", "", "`directory` of the Postgres binaries; empty: they are searched for")
}

func defaultState(getenv func(string) string) string {
	if os.Getuid() == 0 {
		return "/var/lib/fabric-guild"
	}
	if dir := getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "fabric-guild")
	}
	return filepath.Join(getenv("HOME"), ".local", "state", "fabric-guild")
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "fabric-guild (unknown build)"
	}
	return "fabric-guild " + info.Main.Version + " " + info.GoVersion
}

func token(args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	var c config
	users, err := c.parse("token", args, getenv, stderr, func(f *flag.FlagSet) {
		f.DurationVar(&c.ttl, "ttl", 24*time.Hour, "how long the tokens are valid")
		f.Func("guild", "a `guild` that the tokens are for, repeatable; none: all", func(g string) error {
			c.guilds = append(c.guilds, g)
			return nil
		})
		f.BoolVar(&c.rotate, "rotate", false, "make a new key first: all older tokens end within a minute")
	})
	if err != nil {
		return err
	}
	if len(users) == 0 && !c.rotate {
		return fmt.Errorf("token needs the id of a user: %w", errUsage)
	}
	if c.ttl <= 0 {
		return fmt.Errorf("-ttl is to be more than nothing: %w", errUsage)
	}
	for _, user := range users {
		if strings.HasPrefix(user, "-") {
			return fmt.Errorf("flags go before the users, %s came after: %w", user, errUsage)
		}
	}
	tokens, err := openTokens(c.state)
	if err != nil {
		return err
	}
	if c.rotate {
		if err := tokens.Rotate(); err != nil {
			return err
		}
	}
	for _, user := range users {
		t, err := tokens.Sign(user, c.guilds, c.ttl)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(stdout, t); err != nil {
			return err
		}
	}
	return nil
}

func openTokens(state string) (*handlers.Tokens, error) {
	if err := os.MkdirAll(state, 0o711); err != nil { // Postgres' own user passes through
		return nil, fmt.Errorf("the state directory (choose another with -state): %w", err)
	}
	return handlers.OpenTokens(state)
}

// admin has the running server refresh its admin. Whether there is one, or Center answers, is no error.
func admin(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] != "refresh" {
		return fmt.Errorf("admin takes refresh: %w", errUsage)
	}
	var c config
	rest, err := c.parse("admin refresh", args[1:], getenv, stderr, c.address)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("admin refresh takes no %q: %w", rest[0], errUsage)
	}
	if err := c.checkBasePath(); err != nil {
		return err
	}
	answer, err := handlers.RequestRefresh(ctx, c.state, c.addr, c.basePath)
	if err != nil {
		return errors.Join(errTold, json.NewEncoder(stderr).Encode(map[string]any{"ok": false, "error": err.Error()}))
	}
	return json.NewEncoder(stdout).Encode(answer)
}

// errTold is an error that has been written where it belongs.
var errTold = errors.New("")

func migrate(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	var c config
	rest, err := c.parse("migrate", args, getenv, stderr, c.database)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		rest = []string{"up"}
	}
	if len(rest) > 1 || rest[0] != "up" && rest[0] != "status" {
		return fmt.Errorf("migrate takes up or status: %w", errUsage)
	}
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	stopPostgres, _, err := c.openPostgres(ctx, logger, stderr)
	if err != nil {
		return err
	}
	defer stopPostgres()
	if rest[0] == "up" {
		if err := db.Migrate(ctx, c.databaseURL); err != nil {
			return err
		}
	}
	migrations, err := db.Migrations(ctx, c.databaseURL)
	if err != nil {
		return err
	}
	for _, m := range migrations {
		state := "pending"
		if m.Applied {
			state = "applied"
		}
		if _, err := fmt.Fprintf(stdout, "%-8s %s\n", state, m.Name); err != nil {
			return err
		}
	}
	return nil
}

// openPostgres sees to it that databaseURL leads to a Postgres: without one it starts the private one. gone
// is closed when that has ended for good.
func (c *config) openPostgres(ctx context.Context, logger *slog.Logger, stderr io.Writer) (stop func(), gone <-chan struct{}, err error) {
	if c.databaseURL != "" {
		return func() {}, nil, nil
	}
	pg, err := pgrun.Start(ctx, pgrun.Config{
		Dir: c.state, BinDir: c.pgBin, Logger: logger,
		Progress: func(line string) { _, _ = fmt.Fprintln(stderr, line) },
	})
	if err != nil {
		return nil, nil, err
	}
	c.databaseURL = pg.URL()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := pg.Stop(ctx); err != nil {
			logger.Error("the private Postgres did not stop cleanly", "error", err)
		}
	}, pg.Done(), nil
}

func (c *config) address(f *flag.FlagSet) {
	f.StringVar(&c.addr, "addr", "127.0.0.1:8080", "`address` of the server; port 0 picks one")
	f.StringVar(&c.basePath, "base-path", "", "the server's `prefix`, such as /chat")
}

func (c *config) serveFlags(f *flag.FlagSet) {
	c.database(f)
	c.address(f)
	f.StringVar(&c.delivery, "delivery", "three-state", "three-state: who is not concerned gets no message; two-state: everyone gets it, as before")
	f.StringVar(&c.centerURL, "center-base-url", "", "`URL` of Center; empty: the program is its own authority")
	f.StringVar(&c.centerKey, "center-api-key", "", "`key` for Center; better in the environment than on the command line")
	f.StringVar(&c.adminUser, "admin-user", "", "without Center, the `id` of the admin, who hears what happens in triage")
	f.StringVar(&c.transport, "transport", "auto", "auto: streams on HTTP/1.1 are written straight to the connection, others by r3labs/sse; r3labs: all of them by it")
	f.TextVar(&c.logLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
	f.DurationVar(&c.drainStreams, "drain-streams", 5*time.Second, "how long streams may take to end when the server stops")
	f.DurationVar(&c.drainRequests, "drain-requests", 15*time.Second, "how long requests may take then")
}

func (c *config) checkBasePath() error {
	if c.basePath = strings.TrimSuffix(c.basePath, "/"); c.basePath != "" && !strings.HasPrefix(c.basePath, "/") {
		return fmt.Errorf("-base-path is to begin with a slash: %w", errUsage)
	}
	return nil
}

func (c *config) check() error {
	if err := c.checkBasePath(); err != nil {
		return err
	}
	if c.adminUser != "" && !chat.ValidID(c.adminUser) {
		return fmt.Errorf("-admin-user is to be a user's id: %w", errUsage)
	}
	if c.delivery != "three-state" && c.delivery != "two-state" {
		return fmt.Errorf("-delivery is to be three-state or two-state: %w", errUsage)
	}
	if (c.centerURL == "") != (c.centerKey == "") {
		return fmt.Errorf("-center-base-url and -center-api-key go together: %w", errUsage)
	}
	if c.centerURL != "" && c.adminUser != "" {
		return fmt.Errorf("-admin-user is for a server without Center: %w", errUsage)
	}
	if c.transport != "auto" && c.transport != "r3labs" {
		return fmt.Errorf("-transport is to be auto or r3labs: %w", errUsage)
	}
	return nil
}

// center is the authority and the admin, of Center or without it.
func (c *config) center(logger *slog.Logger) (*center.Client, *center.AdminCache, error) {
	if c.centerURL == "" {
		if c.adminUser == "" {
			return nil, center.FixedAdmin(nil), nil
		}
		return nil, center.FixedAdmin(&center.Admin{UserID: c.adminUser}), nil
	}
	client, err := center.New(c.centerURL, c.centerKey, logger)
	if err != nil {
		return nil, nil, err
	}
	return client, center.NewAdminCache(client, logger), nil
}

func serve(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) (err error) {
	var c config
	rest, err := c.parse("serve", args, getenv, stderr, c.serveFlags)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("serve takes no %q: %w", rest[0], errUsage)
	}
	if err := c.check(); err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: c.logLevel}))
	tokens, err := openTokens(c.state)
	if err != nil {
		return err
	}
	operator, err := handlers.OpenOperatorKey(c.state)
	if err != nil {
		return err
	}
	authority, adminCache, err := c.center(logger)
	if err != nil {
		return err
	}
	if authority != nil {
		defer authority.Close()
	}
	defer adminCache.Close()
	// First the port: a second server is to fail before it touches the database.
	listener, err := handlers.Listen(ctx, c.addr)
	if err != nil {
		return fmt.Errorf("listen (choose another address with -addr): %w", err)
	}
	defer func() { _ = listener.Close() }() // once more is no harm
	stopPostgres, postgresGone, err := c.openPostgres(ctx, logger, stderr)
	if err != nil {
		return err
	}
	defer stopPostgres()
	if err := db.Migrate(ctx, c.databaseURL); err != nil {
		return err
	}
	database, err := db.Open(ctx, c.databaseURL)
	if err != nil {
		return err
	}
	defer database.Close()
	head, err := database.Head(ctx)
	if err != nil {
		return fmt.Errorf("find the end of the log: %w", err)
	}
	router := events.NewRouter(database, head)
	tailer := events.NewTailer(database, router, database.Bell(), logger)
	server, handler := handlers.New(handlers.Config{
		Logger: logger, DB: database, Router: router, Tailer: tailer,
		Tokens: tokens, Center: authority, Admin: adminCache, Operator: operator,
		BasePath: c.basePath, R3labsOnly: c.transport == "r3labs", TwoState: c.delivery == "two-state",
	})

	var background sync.WaitGroup
	reading, stopReading := context.WithCancel(context.Background())
	background.Go(func() { tailer.Run(reading) })
	background.Go(func() { database.RunSweeper(reading, logger) })
	background.Go(func() { database.RunDoorbell(reading, c.databaseURL, logger) })
	web := handlers.NewHTTPServer(handler, logger)
	failed := make(chan error, 1)
	background.Go(func() { failed <- web.Serve(listener) })
	_, _ = io.WriteString(stderr, handlers.Greeting(listener.Addr().String(), c.basePath, c.stateFlag()))

	select {
	case <-ctx.Done():
	case err = <-failed:
	case <-postgresGone:
		err = errors.New("the private Postgres has ended and does not start again; the log above says why")
	}
	// Streams first, so that their users come back elsewhere; then requests; then what both of them need.
	logger.Info("stopping: streams end, requests finish")
	server.Drain()
	within(c.drainStreams, router.Close)
	within(c.drainRequests, func(ctx context.Context) {
		if web.Shutdown(ctx) != nil {
			logger.Warn("some requests did not finish in time and are cut")
			err = errors.Join(err, web.Close())
		}
	})
	stopReading()
	background.Wait()
	return err
}

func within(d time.Duration, do func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	do(ctx)
}

// stateFlag is what a command needs to find the state directory, from any other one.
func (c *config) stateFlag() string {
	if c.state == defaultState(os.Getenv) {
		return ""
	}
	path, err := filepath.Abs(c.state)
	if err != nil {
		return c.state
	}
	return path
}
