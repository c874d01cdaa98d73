// Package handlers is the HTTP side of the guild. It decides who may do what, and it has the formats of
// requests and answers.
package handlers

import (
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"fabric-guild/db"
	"fabric-guild/events/live"
	"fabric-guild/events/transport"
	"fabric-guild/handlers/auth"
	"fabric-guild/handlers/center"
	"fabric-guild/handlers/edge"
	"fabric-guild/handlers/metrics"
	"fabric-guild/handlers/web"

	"golang.org/x/sync/singleflight"
)

// A Server answers requests. Its fields do not change after New, so reading them needs no lock.
type Server struct {
	logger       *slog.Logger
	db           *db.DB
	router       *live.Router
	tailer       *live.Tailer
	authority    auth.Authority
	center       *center.Client // nil: the server runs without Center
	admin        *center.AdminCache
	operator     *auth.OperatorKey
	keys         []*auth.KeyFile
	twoState     bool // deliver by the older rule
	r3labs       *transport.R3labs
	basePath     string
	raw          bool          // serve HTTP/1 streams on taken-over connections
	streamMaxAge time.Duration // 0: no limit
	rates        *edge.Rates   // limits changes
	queueRates   *edge.Rates   // limits claims and extensions of wakes
	readRates    *edge.Rates
	openRates    *edge.Rates // limits streams and first polls
	work         *edge.Work  // limits the time that a user's reads take
	pages        *edge.Work  // limits the time that pages without a token take, by address
	activity     *edge.Rates // limits activity
	standings    *standings
	reading      *edge.Lanes
	changing     *edge.Lanes
	polling      *edge.Lanes
	searching    *edge.Lanes        // of each user
	searches     chan struct{}      // of all users
	checking     singleflight.Group // for the checks of /readyz
	places       *edge.Places
	desks        *desks
	worked       chan db.WorkChange // see RunWork
	teller       teller
	rendered     rendered
	wakes        metrics.Wakes
	proxies      edge.Proxies
	freshness    *edge.Rates // of posts with ifLast, by freshKey
	sessions     *auth.Sessions
	metrics      *metrics.Metrics
	draining     atomic.Bool
	plugin       func() web.File // for OpenClaw; made once, when somebody asks for it
}

// Config has the parts and settings of a Server.
type Config struct {
	Logger   *slog.Logger
	DB       *db.DB
	Router   *live.Router
	Tailer   *live.Tailer
	Tokens   *auth.Tokens
	Center   *center.Client     // nil: Tokens checks all tokens
	Admin    *center.AdminCache // nil: there is no admin
	Operator *auth.OperatorKey  // nil: every operator request is refused
	Listener *edge.Listener     // for metrics of connections; nil: there are none
	TwoState bool               // deliver by the older rule
	BasePath string             // "" or "/chat"
	// StreamMaxAge is the maximum age of a stream. A stream ends before that age, so that its client
	// reconnects. 0 means no limit.
	StreamMaxAge time.Duration
	// R3labsOnly serves HTTP/1 streams with the Server of r3labs, not on taken-over connections.
	R3labsOnly bool
	// RateLimit is how many changes per second each user may make on average. 0 means no limit.
	RateLimit float64
	// MaxStreams is how many streams may be open at once. MaxStreamsPerAddress is how many of them may come
	// from one address. 0 means no limit.
	MaxStreams, MaxStreamsPerAddress int
	TrustedProxies                   []netip.Prefix // peers whose X-Forwarded-For and -Proto are used
	AllowOrigins                     []string       // other origins whose pages may use the API
	Hosts                            []string       // host names to serve besides loopback names; nil: all
	// Version is the version of the program, such as v1.2.3. The plugin for OpenClaw has the same.
	Version string
}

// New returns a server, and the http.Handler that serves its API. It starts nothing.
func New(c Config) (*Server, http.Handler) {
	s := &Server{
		logger: c.Logger, db: c.DB, router: c.Router, tailer: c.Tailer, authority: c.Tokens,
		center: c.Center, admin: c.Admin, operator: c.Operator, twoState: c.TwoState,
		r3labs: transport.NewR3labs(), basePath: c.BasePath, raw: !c.R3labsOnly, streamMaxAge: c.StreamMaxAge,
		rates: edge.NewRates(c.RateLimit), queueRates: edge.NewQueueRates(c.RateLimit),
		readRates: edge.NewReadRates(), proxies: c.TrustedProxies,
		openRates: edge.NewOpenRates(c.RateLimit), work: edge.NewWork(), pages: edge.NewWork(),
		activity: edge.NewActivityRates(), freshness: edge.NewFreshRates(), standings: newStandings(),
		reading:  edge.NewLanes(readsAtOnce, readsWaiting),
		changing: edge.NewLanes(changesAtOnce, changesWaiting),
		polling:  edge.NewLanes(pollsAtOnce, 0), desks: newDesks(c.Router),
		worked:    make(chan db.WorkChange, workChanges),
		searching: edge.NewLanes(searchesOfOne, searchesQueued),
		searches:  make(chan struct{}, searchesAtOnce),
		places:    edge.NewPlaces(c.MaxStreams, c.MaxStreamsPerAddress, c.Logger),
	}
	s.plugin = sync.OnceValue(func() web.File { return packPlugin(c.Version) })
	s.sessions = auth.NewSessions(c.Tokens.KeyFile().Current)
	if c.Center != nil {
		s.authority = auth.ByCenter(c.Center)
		// Servers with the same Center may have different state directories. Then Center's key is the only
		// secret that they share.
		s.sessions = auth.NewSessions(
			sync.OnceValues(func() ([]byte, error) { return c.Center.DeriveKey("sessions") }),
		)
	}
	if s.admin == nil {
		s.admin = center.FixedAdmin(nil)
	}
	s.keys = append(s.keys, c.Tokens.KeyFile())
	if c.Operator != nil {
		s.keys = append(s.keys, c.Operator.KeyFile())
	}
	for _, key := range s.keys {
		key.LogTo(s.logger)
	}
	s.wakes.Waiting = s.desks.waiting
	s.db.OnWake(s.desks.ring)
	s.db.OnSignal(s.hear)
	s.db.OnClosed(func(session [16]byte) { s.sessions.Close(session) })
	s.db.OnWork(s.noteWork)
	from := metrics.Sources{
		Router: s.router, Tailer: s.tailer, DB: s.db, Center: s.center, Admin: s.admin,
		MaxStreams:  c.MaxStreams,
		KeyReadable: s.keysReadable, Wakes: &s.wakes,
	}
	if c.Listener != nil {
		from.Connections = c.Listener.Connections
	}
	s.metrics = metrics.New(from, s.logger)
	h := s.mux()
	h = s.belowBasePath(h)
	h = edge.WithinAddress(s.isProbe, h)
	h = edge.OfOrigins(c.AllowOrigins, h)
	if c.Hosts != nil {
		h = edge.OwnHosts(c.Hosts, h)
	}
	h = edge.Unambiguous(s.proxies, h)
	h = edge.Secured(h)
	h = s.recoverPanics(h)
	h = s.logRequests(h)
	return s, h
}

// Drain prepares for the end of the server. From now on /readyz reports that the server wants no more
// requests, and claims that wait are answered. Drain does not block, and it does not end streams.
func (s *Server) Drain() {
	s.draining.Store(true)
	s.desks.drain()
}
