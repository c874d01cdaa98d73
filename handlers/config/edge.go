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

// An Edge is whom the server lets in, and how much of them.
type Edge struct {
	RateLimit                        float64 // changes per second of a user; 0: any number
	MaxStreams, MaxStreamsPerAddress int     // 0: what open files allow, and any number
	TrustedProxies                   []netip.Prefix
	AllowOrigins, AllowHosts         []string
	TLS
}

// TLS is the server's certificate.
type TLS struct{ Cert, Key string } // files; both, or neither

// Flags defines the flags of TLS.
func (c *TLS) Flags(f *flag.FlagSet) {
	f.StringVar(&c.Cert, "tls-cert", "", "`file` of the server's certificate and its chain: it serves TLS; a new one is taken up by itself")
	f.StringVar(&c.Key, "tls-key", "", "`file` of the certificate's key")
}

// Flags defines the flags of an Edge.
func (c *Edge) Flags(f *flag.FlagSet) {
	f.Float64Var(&c.RateLimit, "rate-limit", 100, "changes per `second` that each user may make, ten seconds' worth of them at once; 0: any number")
	f.IntVar(&c.MaxStreams, "max-streams", 0, "`streams` that are open at once; 0: what the limit of open files allows, 50000 at most")
	f.IntVar(&c.MaxStreamsPerAddress, "max-streams-per-address", 0, "`streams` from one address; 0: any number, for behind a proxy all have the same")
	each(f, "trusted-proxies", "`networks` of proxies whose X-Forwarded-For and X-Forwarded-Proto count, such as 10.0.0.0/8,::1", func(s string) error {
		network, err := netip.ParsePrefix(s)
		if a, e := netip.ParseAddr(s); e == nil {
			network, err = a.Prefix(a.BitLen())
		}
		c.TrustedProxies = append(c.TrustedProxies, network)
		return err
	})
	each(f, "allow-origin", "an `origin` whose pages may use the server from a browser, such as https://app.example; repeatable", func(s string) error {
		c.AllowOrigins = append(c.AllowOrigins, s)
		return http.NewCrossOriginProtection().AddTrustedOrigin(s)
	})
	each(f, "allow-host", "a `name` that the server answers to besides localhost; repeatable. It matters on loopback without Center, where other names are refused; once given, also elsewhere", func(s string) error {
		c.AllowHosts = append(c.AllowHosts, s)
		if _, err := netip.ParseAddr(s); err == nil {
			return nil
		}
		if u, err := url.Parse("//" + s); err != nil || s == "" || u.Hostname() != s {
			return errors.New("it is to be a name alone, without scheme and port")
		}
		return nil
	})
	c.TLS.Flags(f)
}

// each is a flag that may be given again, with commas between the values of one.
func each(f *flag.FlagSet, name, usage string, add func(string) error) {
	f.Func(name, usage, func(values string) error {
		for value := range strings.SplitSeq(values, ",") {
			if err := add(strings.TrimSpace(value)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Check completes the values, or tells what is wrong with them.
func (c *Edge) Check() error {
	const mostRate = 1e6
	if !(c.RateLimit >= 0 && c.RateLimit <= mostRate) { // NaN is neither
		return fmt.Errorf("-rate-limit is to be %d at most, or 0 for any number: %w", int(mostRate), ErrUsage)
	}
	if c.MaxStreams < 0 || c.MaxStreamsPerAddress < 0 {
		return fmt.Errorf("-max-streams and -max-streams-per-address are to be 0 or more: %w", ErrUsage)
	}
	if (c.Cert == "") != (c.Key == "") {
		return fmt.Errorf("-tls-cert and -tls-key go together: %w", ErrUsage)
	}
	return nil
}
