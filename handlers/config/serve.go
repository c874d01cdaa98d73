package config

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"fabric-guild/db"
	"fabric-guild/db/pgrun"
	"fabric-guild/handlers/chat"
)

// A Database is where Postgres is.
type Database struct {
	URL   string // empty: a private one in the state directory
	PGBin string // the private one's binaries; empty: they are searched for
	// PGSource is where they are fetched from when there are none; empty: they are not.
	PGSource string
}

// Flags defines the flags of a Database.
func (c *Database) Flags(f *flag.FlagSet) {
	f.StringVar(&c.URL, "database-url", "", "`URL` of Postgres; empty: a private one in the state directory")
	f.StringVar(&c.PGBin, "postgres-bin", "", "`directory` of the Postgres binaries; empty: they are searched for")
	c.PGSource = pgrun.DefaultSource
	f.Func("postgres-source", "`URL` to fetch the Postgres binaries from where there are none, or never (default "+pgrun.DefaultSource+")", func(source string) error {
		if c.PGSource = source; source == "never" {
			c.PGSource = ""
			return nil
		}
		if u, err := url.Parse(source); err != nil || u.Host == "" {
			return errors.New("is to be a URL, or never")
		}
		return nil
	})
}

// An Address is where the server is.
type Address struct {
	Addr     string
	BasePath string // "" or "/chat"
}

// Flags defines the flags of an Address.
func (c *Address) Flags(f *flag.FlagSet) {
	f.StringVar(&c.Addr, "addr", "127.0.0.1:8080", "`address` of the server; port 0 picks one")
	f.StringVar(&c.BasePath, "base-path", "", "the server's `prefix`, such as /chat")
}

// Check completes the address, or tells what is wrong with it.
func (c *Address) Check() error {
	if c.BasePath = strings.TrimSuffix(c.BasePath, "/"); c.BasePath != "" && !strings.HasPrefix(c.BasePath, "/") {
		return fmt.Errorf("-base-path is to begin with a slash: %w", ErrUsage)
	}
	return nil
}

// Serve is what the server goes by.
type Serve struct {
	Database
	Address
	DoorbellURL string // empty: as Database.URL
	Edge
	Delivery, Transport         string
	CenterURL, CenterKey        string // both, or neither
	AdminUser                   string
	Log                         Log
	DebugAddr                   string        // empty: no profiles
	StreamMaxAge                time.Duration // 0: never
	Retention                   db.Retention
	DrainStreams, DrainRequests time.Duration
}

// Flags defines the flags of the server.
func (c *Serve) Flags(f *flag.FlagSet) {
	c.Database.Flags(f)
	c.Address.Flags(f)
	f.StringVar(&c.DoorbellURL, "doorbell-url", "", "`URL` of Postgres itself, to hear at once what other servers store, where -database-url leads to a pooler")
	c.Edge.Flags(f)
	f.StringVar(&c.Delivery, "delivery", "three-state", "three-state: who is not concerned gets no message; two-state: everyone gets it, as before")
	f.StringVar(&c.CenterURL, "center-base-url", "", "`URL` of Center; empty: the program is its own authority")
	f.StringVar(&c.CenterKey, "center-api-key", "", "`key` for Center; better in the environment than on the command line")
	f.StringVar(&c.AdminUser, "admin-user", "", "without Center, the `id` of the admin, who hears what happens in triage")
	f.StringVar(&c.Transport, "transport", "auto", "auto: streams on HTTP/1.1 are written straight to the connection, others by r3labs/sse; r3labs: all of them by it")
	c.Log.Flags(f)
	f.StringVar(&c.DebugAddr, "debug-addr", "", "`address` of profiles (net/http/pprof), on the loopback; empty: there are none")
	f.DurationVar(&c.StreamMaxAge, "stream-max-age", time.Hour, "streams end between half of this and all of it, for their clients to come back to whichever server has room; 0: never")
	f.DurationVar(&c.Retention.Age, "retention", 720*time.Hour, "how long events can be resumed from; 0: for ever. Messages stay")
	f.Int64Var(&c.Retention.Events, "retention-events", 0, "how many events are kept at most, of about 130 bytes each; 0: any number")
	f.DurationVar(&c.DrainStreams, "drain-streams", 5*time.Second, "how long streams may take to end when the server stops")
	f.DurationVar(&c.DrainRequests, "drain-requests", 15*time.Second, "how long requests may take then")
}

// Check completes the values, or tells what is wrong with them.
func (c *Serve) Check() error {
	if err := c.Address.Check(); err != nil {
		return err
	}
	if err := c.Edge.Check(); err != nil {
		return err
	}
	if c.DoorbellURL != "" && c.URL == "" {
		return fmt.Errorf("-doorbell-url is for a server with a -database-url: %w", ErrUsage)
	}
	if err := c.Log.Check(); err != nil {
		return err
	}
	if !onLoopback(c.DebugAddr) {
		return fmt.Errorf("-debug-addr is to be a port on the loopback, such as 127.0.0.1:6060, since profiles are for nobody else: %w", ErrUsage)
	}
	if c.AdminUser != "" && !chat.ValidID(c.AdminUser) {
		return fmt.Errorf("-admin-user is to be a user's id: %w", ErrUsage)
	}
	if c.Delivery != "three-state" && c.Delivery != "two-state" {
		return fmt.Errorf("-delivery is to be three-state or two-state: %w", ErrUsage)
	}
	if (c.CenterURL == "") != (c.CenterKey == "") {
		return fmt.Errorf("-center-base-url and -center-api-key go together: %w", ErrUsage)
	}
	if c.CenterURL != "" && c.AdminUser != "" {
		return fmt.Errorf("-admin-user is for a server without Center: %w", ErrUsage)
	}
	if c.StreamMaxAge != 0 && c.StreamMaxAge < time.Second {
		return fmt.Errorf("-stream-max-age is to be a second at least, or 0: %w", ErrUsage)
	}
	if c.Retention.Age < 0 || c.Retention.Events < 0 {
		return fmt.Errorf("-retention and -retention-events are not to be negative: %w", ErrUsage)
	}
	if c.Transport != "auto" && c.Transport != "r3labs" {
		return fmt.Errorf("-transport is to be auto or r3labs: %w", ErrUsage)
	}
	return nil
}

// Hosts are the names that a server on this address answers to besides loopback's; nil: any. Without Center,
// and on loopback, it is somebody's own machine, where pages must not reach it by a name of theirs.
func (c *Serve) Hosts(on net.Addr) []string {
	if tcp, ok := on.(*net.TCPAddr); c.AllowHosts == nil && c.CenterURL == "" && ok && tcp.IP.IsLoopback() {
		return []string{}
	}
	return c.AllowHosts
}

// onLoopback reports whether nobody outside of this machine can reach an address. No address is one too.
func onLoopback(addr string) bool {
	if addr == "" {
		return true
	}
	host, _, err := net.SplitHostPort(addr)
	return err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
}
