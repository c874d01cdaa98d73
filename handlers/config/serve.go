package config

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/pgrun"
	"fabric-guild/handlers/chat"
)

// A Database says which Postgres the server uses.
type Database struct {
	URL      string // empty means a private Postgres in the state directory
	PGBin    string // directory of the binaries of the private Postgres; empty means search for them
	PGSource string // URL to download the binaries from if the machine has none; empty means no download
}

// Flags defines the flags of c in f.
func (c *Database) Flags(f *flag.FlagSet) {
	f.StringVar(&c.URL, "database-url", "",
		"`URL` of Postgres (default: a private one in the state directory)")
	f.StringVar(&c.PGBin, "postgres-bin", "",
		"`directory` of the Postgres binaries (default: search for them)")
	c.PGSource = pgrun.DefaultSource
	usage := "`URL` to download the Postgres binaries from if the machine has none, or never " +
		"(default " + pgrun.DefaultSource + ")"
	f.Func("postgres-source", usage, c.setSource)
}

func (c *Database) setSource(source string) error {
	if source == "never" {
		c.PGSource = ""
		return nil
	}
	c.PGSource = source
	u, err := url.Parse(source)
	if err != nil || u.Host == "" {
		return errors.New("must be a URL, or never")
	}
	return nil
}

// An Address says where the server listens.
type Address struct {
	Addr     string
	BasePath string // without a slash at its end: "" or "/chat"
}

// Flags defines the flags of c in f.
func (c *Address) Flags(f *flag.FlagSet) {
	f.StringVar(&c.Addr, "addr", "127.0.0.1:8080", "`address` to listen on; port 0 picks a free port")
	f.StringVar(&c.BasePath, "base-path", "", "path `prefix` of all URLs of the server, such as /chat")
}

// prefixes matches what BasePath may be: segments that every client and every proxy sends as they are. One of
// only dots is not among them, because clients resolve it.
var prefixes = regexp.MustCompile(`^(/\.*[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$`)

// Check removes a slash at the end of BasePath. It returns an error that wraps ErrUsage if a value is not
// allowed.
func (c *Address) Check() error {
	c.BasePath = strings.TrimSuffix(c.BasePath, "/")
	if !prefixes.MatchString(c.BasePath) {
		return fmt.Errorf("-base-path must be segments of letters, digits and . _ ~ - behind slashes: %w",
			ErrUsage)
	}
	return nil
}

// Serve are all settings of the server.
type Serve struct {
	Database
	Address
	DoorbellURL string // empty means Database.URL
	Edge
	Delivery      string
	Transport     string
	CenterURL     string // empty means no Center
	CenterKey     string // set if CenterURL is
	AdminUser     string
	Log           Log
	DebugAddr     string        // empty means no profiles
	StreamMaxAge  time.Duration // 0 means no limit
	Retention     db.Retention
	DrainStreams  time.Duration
	DrainRequests time.Duration
}

// Flags defines the flags of c in f.
func (c *Serve) Flags(f *flag.FlagSet) {
	c.Database.Flags(f)
	c.Address.Flags(f)
	f.StringVar(&c.DoorbellURL, "doorbell-url", "",
		"`URL` of Postgres itself, if -database-url leads to a pooler; "+
			"through it the servers notify each other of new events")
	c.Edge.Flags(f)
	f.StringVar(&c.Delivery, "delivery", "three-state",
		"`rule` of delivery. three-state: users whom a message does not concern do not get it; "+
			"two-state: all members get it, as in older versions")
	f.StringVar(&c.CenterURL, "center-base-url", "",
		"`URL` of Center (default: no Center, the server signs tokens itself)")
	f.StringVar(&c.CenterKey, "center-api-key", "",
		"API `key` for Center; put it in the environment, because other users can read command lines")
	f.StringVar(&c.AdminUser, "admin-user", "",
		"user `id` of the admin, who hears triage channels; only without Center")
	f.StringVar(&c.Transport, "transport", "auto",
		"`transport` of streams. auto: the server writes HTTP/1.1 streams directly to the connection, "+
			"and other streams through r3labs/sse; r3labs: all streams through r3labs/sse")
	c.Log.Flags(f)
	f.StringVar(&c.DebugAddr, "debug-addr", "",
		"loopback `address` of profiles (net/http/pprof) (default: no profiles)")
	f.DurationVar(&c.StreamMaxAge, "stream-max-age", time.Hour,
		"maximum age of a stream; each ends at a random age between half of this and all of it, "+
			"so that clients reconnect and spread over the servers; 0 means no limit")
	f.DurationVar(&c.Retention.Age, "retention", 720*time.Hour,
		"how long the event log keeps events, so that clients can resume; 0 means forever. Messages stay")
	f.Int64Var(&c.Retention.Events, "retention-events", 0,
		"maximum `number` of events to keep, at about 130 bytes each; 0 means no limit")
	f.DurationVar(&c.DrainStreams, "drain-streams", 5*time.Second,
		"how long streams may take to end when the server stops")
	f.DurationVar(&c.DrainRequests, "drain-requests", 15*time.Second,
		"how long requests may take to end after the streams have ended")
}

// Check normalizes the values. It returns an error that wraps ErrUsage if a value is not allowed.
func (c *Serve) Check() error {
	if err := c.Address.Check(); err != nil {
		return err
	}
	if err := c.Edge.Check(); err != nil {
		return err
	}
	if c.DoorbellURL != "" && c.URL == "" {
		return fmt.Errorf("-doorbell-url needs -database-url: %w", ErrUsage)
	}
	if err := c.Log.Check(); err != nil {
		return err
	}
	if !onLoopback(c.DebugAddr) {
		return fmt.Errorf("-debug-addr must be a port on loopback, such as 127.0.0.1:6060, "+
			"because profiles must not be public: %w", ErrUsage)
	}
	if c.AdminUser != "" && !chat.ValidID(c.AdminUser) {
		return fmt.Errorf("-admin-user must be the id of a user: %w", ErrUsage)
	}
	if c.Delivery != "three-state" && c.Delivery != "two-state" {
		return fmt.Errorf("-delivery must be three-state or two-state: %w", ErrUsage)
	}
	if (c.CenterURL == "") != (c.CenterKey == "") {
		return fmt.Errorf("-center-base-url and -center-api-key must be used together: %w", ErrUsage)
	}
	if c.CenterURL != "" && c.AdminUser != "" {
		return fmt.Errorf("-admin-user cannot be used with Center: %w", ErrUsage)
	}
	if c.StreamMaxAge != 0 && c.StreamMaxAge < time.Second {
		return fmt.Errorf("-stream-max-age must be at least a second, or 0: %w", ErrUsage)
	}
	if c.Retention.Age < 0 || c.Retention.Events < 0 {
		return fmt.Errorf("-retention and -retention-events must not be negative: %w", ErrUsage)
	}
	if c.Transport != "auto" && c.Transport != "r3labs" {
		return fmt.Errorf("-transport must be auto or r3labs: %w", ErrUsage)
	}
	return nil
}

// Hosts returns the host names that the server answers to, besides loopback names. nil means any name. on is
// the address that the server listens on. Without Center and on loopback, the server runs on somebody's own
// machine. Then it must not answer to other names: a web page could point a name of its own to this machine
// and so reach the server.
func (c *Serve) Hosts(on net.Addr) []string {
	tcp, ok := on.(*net.TCPAddr)
	if ok && tcp.IP.IsLoopback() && c.AllowHosts == nil && c.CenterURL == "" {
		return []string{}
	}
	return c.AllowHosts
}

// onLoopback reports whether only this machine can reach an address. This also holds for an empty address.
func onLoopback(addr string) bool {
	if addr == "" {
		return true
	}
	host, _, err := net.SplitHostPort(addr)
	return err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
}
