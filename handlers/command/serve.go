package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"fabric-guild/db"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/center"
	"fabric-guild/handlers/config"
	"fabric-guild/handlers/edge"
	"fabric-guild/handlers/node"
)

// serve runs the server. It blocks until ctx ends or the server fails, and then until everything has stopped.
func serve(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) (err error) {
	var dir string
	var c config.Serve
	rest, err := config.Parse("serve", args, getenv, stderr, state(&dir, getenv), c.Flags)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("serve takes no argument %q: %w", rest[0], config.ErrUsage)
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
				logger.Error("the server ends", "error", OneLine(err))
				err = ErrTold
			}
		}()
	}
	ready := false
	defer func() { // a signal may come while the server starts
		if err != nil && !ready && ctx.Err() != nil {
			logger.Info("stopped before it was ready", "error", OneLine(err))
			err = nil
		}
	}()
	if getenv("GOGC") == "" {
		// Each collection walks the ring. Fewer collections make posts 4 % cheaper; in return, garbage may
		// take twice the memory that is in use.
		debug.SetGCPercent(200)
	}
	conf := settings(&c)
	conf.Logger = logger
	conf.Version = number()
	if conf.Tokens, err = openTokens(dir); err != nil {
		return err
	}
	if conf.Operator, err = auth.OpenOperatorKey(dir); err != nil {
		return err
	}
	if conf.Center, conf.Admin, err = openCenter(&c, logger); err != nil {
		return err
	}
	if conf.Center != nil {
		defer conf.Center.Close()
	}
	defer conf.Admin.Close()
	// The port comes first: a second server must fail before it touches the database.
	if err := listen(ctx, &c, &conf); err != nil {
		return err
	}
	defer func() { _ = conf.Listener.Close() }() // the node may have closed it already, which does no harm
	if c.DebugAddr != "" {
		stopProfiles, err := edge.ServeProfiles(ctx, c.DebugAddr, logger)
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
	conf.DatabaseURL = c.URL
	if err := db.Migrate(ctx, c.URL); err != nil {
		return err
	}
	n, err := node.Open(ctx, conf)
	if err != nil {
		return err
	}
	failed := n.Run()
	ready = true
	base := baseURL(conf.Certificate != nil, conf.Listener.Addr().String(), c.BasePath)
	logger.Info("ready", "url", base, "version", version(), "private_postgres", postgresGone != nil,
		"center", conf.Center != nil, "delivery", c.Delivery,
		"transport", c.Transport, "max_streams", conf.MaxStreams)
	if !c.Log.JSON() {
		_, _ = io.WriteString(stderr, greeting(base, config.StateFlag(dir, getenv)))
	}

	select {
	case <-ctx.Done():
	case err = <-failed:
	case <-postgresGone:
		err = errors.New("the private Postgres has ended and does not start again; the log above says why")
	}
	logger.Info("stopping: streams end, requests finish", "streams", n.Router.Streams())
	if drained := n.Drain(c.DrainStreams, c.DrainRequests); !errors.Is(drained, node.ErrCut) {
		err = errors.Join(err, drained)
	}
	n.Close()
	logger.Info("streams and requests have ended")
	return err
}

// settings returns what the flags of serve say about the node.
func settings(c *config.Serve) (conf node.Config) {
	conf.DoorbellURL = c.DoorbellURL
	conf.Retention = c.Retention
	conf.BasePath = c.BasePath
	conf.R3labsOnly = c.Transport == "r3labs"
	conf.TwoState = c.Delivery == "two-state"
	conf.StreamMaxAge = c.StreamMaxAge
	conf.RateLimit = c.RateLimit
	conf.MaxStreams = c.MaxStreams
	conf.MaxStreamsPerAddress = c.MaxStreamsPerAddress
	conf.TrustedProxies = c.TrustedProxies
	conf.AllowOrigins = c.AllowOrigins
	return conf
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

// listen opens the certificate, if there is one, and the port, and sets them in conf, with the host names
// that the server answers to. If MaxStreams is 0, listen sets it to the number of streams that the limit of
// open files has room for. If MaxStreams is more than that, listen only logs a warning.
func listen(ctx context.Context, c *config.Serve, conf *node.Config) (err error) {
	if c.Cert != "" {
		if conf.Certificate, err = edge.OpenCertificate(c.Cert, c.Key, conf.Logger); err != nil {
			return err
		}
	}
	room, connections, err := edge.Room(c.MaxStreams)
	if err != nil {
		return err
	}
	if c.MaxStreams > room {
		conf.Logger.Warn("the limit of open files is too low for -max-streams: "+
			"raise it (ulimit -n, LimitNOFILE)", "room_for", room)
	}
	if c.MaxStreams == 0 {
		conf.MaxStreams = room
	}
	if conf.Listener, err = edge.Listen(ctx, c.Addr, connections, c.TrustedProxies); err != nil {
		return fmt.Errorf("listen (choose another address with -addr): %w", err)
	}
	conf.Hosts = c.Hosts(conf.Listener.Addr())
	return nil
}
