// Package handlers is the guild's HTTP: who may do what, and the wire of requests and answers.
package handlers

import (
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"fabric-guild/db"
	"fabric-guild/handlers/center"
	"fabric-guild/handlers/metrics"

	"golang.org/x/sync/singleflight"

	"fabric-guild/events/live"
	"fabric-guild/events/transport"
)

// A Server answers requests. Its fields do not change once it serves.
type Server struct {
	logger       *slog.Logger
	db           *db.DB
	router       *live.Router
	tailer       *live.Tailer
	authority    authority
	center       *center.Client // nil: the program is its own authority
	admin        *center.AdminCache
	operator     *OperatorKey
	keys         map[string]*keyFile // by the names of their files
	twoState     bool                // the older delivery rule
	r3labs       *transport.R3labs
	basePath     string
	raw          bool          // HTTP/1 streams on taken-over connections
	streamMaxAge time.Duration // 0: streams do not end by themselves
	rates        *rates        // of changes
	queueRates   *rates        // of claims and extensions
	readRates    *rates
	reading      *lanes
	changing     *lanes
	polling      *lanes
	checking     singleflight.Group // of the checks of /readyz
	places       *places
	desks        *desks
	wakes        metrics.Wakes
	proxies      proxies
	sessions     *sessions
	metrics      *metrics.Metrics
	draining     atomic.Bool
}

// Config is what a Server is made of.
type Config struct {
	Logger   *slog.Logger
	DB       *db.DB
	Router   *live.Router
	Tailer   *live.Tailer
	Tokens   *Tokens
	Center   *center.Client     // nil: Tokens is the authority
	Admin    *center.AdminCache // nil: there is none
	Operator *OperatorKey       // nil: nobody operates the server from outside
	Listener *Listener          // whose connections are counted; nil: none are
	TwoState bool               // deliver by the older rule
	BasePath string             // "" or "/chat"
	// StreamMaxAge ends streams before they are older, so that their clients come back; 0: never.
	StreamMaxAge time.Duration
	// R3labsOnly serves HTTP/1 streams by r3labs' Server too.
	R3labsOnly bool
	// RateLimit is how many changes per second each user may make on average; 0: any number.
	RateLimit float64
	// MaxStreams is how many streams are open at once, MaxStreamsPerAddress how many from one address; 0: any
	// number.
	MaxStreams, MaxStreamsPerAddress int
	TrustedProxies                   []netip.Prefix // whose X-Forwarded-For and -Proto count
	AllowOrigins                     []string       // whose pages may read and change things, besides the server's own
	Hosts                            []string       // the names that are answered to besides loopback's; nil: any
}

// New returns a server and the handler that it serves with.
func New(c Config) (*Server, http.Handler) {
	s := &Server{
		logger: c.Logger, db: c.DB, router: c.Router, tailer: c.Tailer, authority: c.Tokens,
		center: c.Center, admin: c.Admin, operator: c.Operator, twoState: c.TwoState,
		r3labs: transport.NewR3labs(), basePath: c.BasePath, raw: !c.R3labsOnly, streamMaxAge: c.StreamMaxAge,
		rates: newRates(c.RateLimit), queueRates: newRates(c.RateLimit), readRates: newReadRates(), proxies: c.TrustedProxies,
		reading: newLanes(readsAtOnce, readsWaiting), changing: newLanes(changesAtOnce, changesWaiting),
		polling: newLanes(pollsAtOnce, 0), desks: newDesks(c.Router),
		places: newPlaces(c.MaxStreams, c.MaxStreamsPerAddress, c.Logger),
	}
	s.sessions = newSessions(c.Tokens.key.current)
	if c.Center != nil {
		s.authority = byCenter{c.Center}
		// Servers that share a Center may have state directories of their own, and share no other secret.
		s.sessions = newSessions(sync.OnceValues(func() ([]byte, error) { return c.Center.DeriveKey("sessions") }))
	}
	if s.admin == nil {
		s.admin = center.FixedAdmin(nil)
	}
	s.keys = map[string]*keyFile{tokenKeyFile: c.Tokens.key}
	if c.Operator != nil {
		s.keys[operatorKeyFile] = c.Operator.key
	}
	for _, key := range s.keys {
		key.logTo(s.logger)
	}
	s.wakes.Waiting = s.desks.waiting
	from := metrics.Sources{
		Router: s.router, Tailer: s.tailer, DB: s.db, Center: s.center, Admin: s.admin, MaxStreams: c.MaxStreams,
		KeyReadable: s.keysReadable, Wakes: &s.wakes,
	}
	if c.Listener != nil {
		from.Connections = c.Listener.connections
	}
	s.metrics = metrics.New(from, s.logger)
	h := s.mux()
	h = s.belowBasePath(h)
	h = s.withinAddress(h)
	h = ofOrigins(c.AllowOrigins, h)
	if c.Hosts != nil {
		h = ownHosts(c.Hosts, h)
	}
	h = s.strict(h)
	h = secured(h)
	h = s.recoverPanics(h)
	h = s.logRequests(h)
	return s, h
}

// Drain makes /readyz say that no more requests are welcome, and answers claims that wait.
func (s *Server) Drain() {
	s.draining.Store(true)
	s.desks.drain()
}

// RingWakes tells the claims of a user that wait on this server that something may be due.
func (s *Server) RingWakes(user string) { s.desks.ring(user) }
