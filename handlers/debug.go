package handlers

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

// ServeProfiles serves net/http/pprof at an address of its own, which is to be on the loopback: a profile costs
// the server time, and shows its insides. stop ends it and returns when it has ended.
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
	// Not cmdline: a database URL or a key may stand there.
	mux.HandleFunc("/debug/pprof/cmdline", http.NotFound)
	server := &http.Server{
		Handler: ownHosts([]string{}, mux), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // until it is closed
	logger.Info("profiles are served", "url", "http://"+listener.Addr().String()+"/debug/pprof/")
	return func() {
		_ = server.Close() // a profile under way is cut
		serving.Wait()
	}, nil
}
