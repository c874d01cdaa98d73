package config

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// An Edge says which requests the server accepts, and how many.
type Edge struct {
	RateLimit            float64 // changes per second and user; 0 means no limit
	MaxStreams           int     // 0 means as many as the limit of open files allows
	MaxStreamsPerAddress int     // 0 means no limit
	TrustedProxies       []netip.Prefix
	AllowOrigins         []string
	AllowHosts           []string
	TLS
}

// TLS are the files of the server's certificate. Both are set, or neither.
type TLS struct{ Cert, Key string }

// Flags defines the flags of c in f.
func (c *TLS) Flags(f *flag.FlagSet) {
	f.StringVar(&c.Cert, "tls-cert", "",
		"`file` of the server's certificate and its chain, to serve TLS; "+
			"the server loads a renewed certificate by itself")
	f.StringVar(&c.Key, "tls-key", "", "`file` of the certificate's key")
}

// Flags defines the flags of c in f.
func (c *Edge) Flags(f *flag.FlagSet) {
	f.Float64Var(&c.RateLimit, "rate-limit", 100,
		"maximum `number` of changes per second and user, with a burst of ten seconds' worth; 0 "+
			"means no limit")
	f.IntVar(&c.MaxStreams, "max-streams", 0,
		"maximum `number` of open streams, waiting polls and waiting claims; "+
			"0 means as many as the limit of open files allows, at most 50000")
	f.IntVar(&c.MaxStreamsPerAddress, "max-streams-per-address", 0,
		"maximum `number` of open streams, waiting polls and waiting claims from one client address; "+
			"0 means no limit, because all clients behind a proxy share an address")
	listFlag(f, "trusted-proxies",
		"`networks` of proxies, such as 10.0.0.0/8,::1; the server uses X-Forwarded-For and "+
			"X-Forwarded-Proto only from these",
		c.addProxy)
	listFlag(f, "allow-origin",
		"an `origin` whose pages may use the server from a browser, such as https://app.example; repeatable",
		c.addOrigin)
	listFlag(f, "allow-host",
		"a host `name` that the server answers to, besides loopback names; repeatable. "+
			"Default: any host name. A server on loopback without Center answers only to loopback names",
		c.addHost)
	c.TLS.Flags(f)
}

func (c *Edge) addProxy(s string) error {
	network, err := netip.ParsePrefix(s)
	if a, e := netip.ParseAddr(s); e == nil {
		network, err = a.Prefix(a.BitLen())
	}
	c.TrustedProxies = append(c.TrustedProxies, network)
	if err != nil {
		return errors.New("must be networks or addresses with commas between, such as 10.0.0.0/8,::1")
	}
	return nil
}

func (c *Edge) addOrigin(s string) error {
	c.AllowOrigins = append(c.AllowOrigins, s)
	return http.NewCrossOriginProtection().AddTrustedOrigin(s)
}

func (c *Edge) addHost(s string) error {
	c.AllowHosts = append(c.AllowHosts, s)
	if _, err := netip.ParseAddr(s); err == nil {
		return nil
	}
	u, err := url.Parse("//" + s)
	if err != nil || s == "" || u.Hostname() != s {
		return errors.New("must be a name alone, without scheme and port")
	}
	return nil
}

// listFlag defines a flag that may be repeated. Each use may have several values, separated by commas.
func listFlag(f *flag.FlagSet, name, usage string, add func(string) error) {
	f.Func(name, usage, func(values string) error {
		for value := range strings.SplitSeq(values, ",") {
			if err := add(strings.TrimSpace(value)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Check returns an error that wraps ErrUsage if a value is not allowed.
func (c *Edge) Check() error {
	const maxRate = 1e6
	if !(c.RateLimit >= 0 && c.RateLimit <= maxRate) { // also refuses NaN
		return fmt.Errorf("-rate-limit must be from 0, for no limit, to %d: %w", int(maxRate), ErrUsage)
	}
	if c.MaxStreams < 0 || c.MaxStreamsPerAddress < 0 {
		return fmt.Errorf("-max-streams and -max-streams-per-address must be 0 or more: %w", ErrUsage)
	}
	if (c.Cert == "") != (c.Key == "") {
		return fmt.Errorf("-tls-cert and -tls-key must be used together: %w", ErrUsage)
	}
	return nil
}
