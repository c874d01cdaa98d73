// Package node is one server of the guild: the HTTP side, the streams, and the tasks in the background. The
// command serve and the tests of the HTTP side run it, so the tests run what users run.
//
// Every goroutine has one owner:
//
//	goroutines                          started by     stopped by
//	accept loop, requests               Run            Drain, which waits for them; else Close
//	claims that wait for work           a request      Drain
//	streams: their workers, the loader  the Router     Drain, which waits for them; else Close
//	tailer: reads the event log         Run            Close, which waits for it
//	trim, sweepers, retention, bell     Run            Close, which waits for them
//	renames: looks for changed users    Run            Close, which waits for it
//	work: shows how work stands         Run            Close, which waits for it
//	the pools' own                      Open           Close
//
// The caller of Open owns what it passes in: the listener, the keys, and the clients of Center.
package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"fabric-guild/db"
	"fabric-guild/events/live"
	"fabric-guild/handlers"
	"fabric-guild/handlers/edge"
)

// Config has the parts and settings of a Node. Open sets DB, Router and Tailer.
type Config struct {
	handlers.Config
	DatabaseURL string
	DoorbellURL string // of Postgres itself, if DatabaseURL leads to a pooler; empty: DatabaseURL
	Retention   db.Retention
	Certificate *edge.Certificate // nil: no TLS
}

// A Node is one server. Its methods must not be called concurrently.
type Node struct {
	DB     *db.DB
	Router *live.Router
	Server *handlers.Server
	HTTP   *http.Server // may be changed before Run

	config Config
	life   context.Context // ends with Close
	stop   context.CancelFunc
	tasks  sync.WaitGroup // the goroutines that Run starts
}

// Open connects to the database, finds the end of the event log, and puts the server together. The database
// must have the newest schema. ctx is only for Open itself.
func Open(ctx context.Context, c Config) (*Node, error) {
	database, err := db.Open(ctx, c.DatabaseURL)
	if err != nil {
		return nil, err
	}
	head, err := database.Head(ctx)
	if err != nil {
		database.Close()
		return nil, fmt.Errorf("find the end of the event log: %w", err)
	}
	c.DB = database
	c.Router = live.NewRouter(database, head)
	c.Router.Logger = c.Logger
	c.Tailer = live.NewTailer(database, c.Router, database.Bell(), c.Logger)
	database.OnEvents(c.Tailer.Take)
	server, handler := handlers.New(c.Config)
	n := &Node{
		DB: database, Router: c.Router, Server: server, config: c,
		HTTP: edge.NewHTTPServer(handler, c.Certificate, c.Logger),
	}
	n.life, n.stop = context.WithCancel(context.WithoutCancel(ctx))
	return n, nil
}

// Run starts the tasks in the background, and serves requests on the listener. It does not block, and may be
// called once. failed gets an error if the listener fails, and nil when it is closed by Drain or Close.
func (n *Node) Run() (failed <-chan error) {
	logger := n.config.Logger
	doorbell := cmp.Or(n.config.DoorbellURL, n.config.DatabaseURL)
	n.tasks.Go(func() { n.config.Tailer.Run(n.life) })
	n.tasks.Go(func() { n.Router.RunTrim(n.life) })
	n.tasks.Go(func() { n.DB.RunSweeper(n.life, logger) })
	n.tasks.Go(func() { n.DB.RunWakeSweeper(n.life, n.Router.Position, logger) })
	n.tasks.Go(func() { n.DB.RunRenames(n.life, n.Router.Rename) })
	n.tasks.Go(func() { n.Server.RunWork(n.life) })
	n.tasks.Go(func() { n.DB.RunIndexer(n.life, n.Router.Position, logger) })
	n.tasks.Go(func() { n.DB.RunRetention(n.life, n.config.Retention, logger) })
	n.tasks.Go(func() { n.DB.RunDoorbell(n.life, doorbell, logger) })
	served := make(chan error, 1)
	n.tasks.Go(func() {
		err := edge.Serve(n.HTTP, n.config.Listener)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		served <- err
	})
	return served
}

// ErrCut says that streams or requests were cut, because they did not end in time.
var ErrCut = errors.New("cut what did not end in time")

// Drain ends the streams, so that their clients reconnect to another server, and then finishes the requests.
// It blocks until both are done, and cuts what is left after the two durations. Then the error wraps ErrCut.
// The tasks in the background go on, because streams and requests need them.
func (n *Node) Drain(streams, requests time.Duration) error {
	n.Server.Drain()
	err := within(streams, func(ctx context.Context) error {
		n.Router.Close(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("streams: %w", ErrCut)
		}
		return nil
	})
	return errors.Join(err, within(requests, func(ctx context.Context) error {
		if n.HTTP.Shutdown(ctx) == nil && n.Server.AwaitClaims(ctx) == nil {
			return nil
		}
		n.config.Logger.Warn("some requests did not finish in time and are cut")
		return errors.Join(fmt.Errorf("requests: %w", ErrCut), n.HTTP.Close())
	}))
}

// within calls do with a context that ends after d.
func within(d time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return do(ctx)
}

// Close cuts streams and requests, stops the tasks in the background, and waits for them. Then it closes the
// pools of the database. Call Drain before it: a client that is cut has no answer.
func (n *Node) Close() {
	n.Server.Drain()
	cut, cancel := context.WithCancel(context.Background())
	cancel()
	n.Router.Close(cut)
	_ = n.HTTP.Close()            // the error is that of the listener, which may be closed already
	_ = n.Server.AwaitClaims(cut) // cuts them
	n.stop()
	n.tasks.Wait()
	n.DB.Close()
}
