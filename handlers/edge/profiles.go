package edge

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"
)

// ServeProfiles serves net/http/pprof at a separate address. That address should be on loopback, because a
// profile slows the server down and shows its internals. ServeProfiles does not block. stop closes the
// profile server, and returns when it has stopped.
func ServeProfiles(ctx context.Context, addr string, logger *slog.Logger) (stop func(), err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for profiles (choose another address with -debug-addr): %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	// The command line is hidden: it may contain a database URL or a key.
	mux.HandleFunc("/debug/pprof/cmdline", http.NotFound)
	server := &http.Server{
		Handler: OwnHosts([]string{}, mux), ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // returns when stop closes the server
	logger.Info("profiles are served", "url", "http://"+listener.Addr().String()+"/debug/pprof/")
	return func() {
		_ = server.Close() // cuts off a running profile
		serving.Wait()
	}, nil
}
