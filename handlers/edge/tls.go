package edge

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// A Certificate is a certificate and its key in two files. The server reads the files again when they change,
// so a renewal needs no restart and no signal. It is safe for concurrent use.
type Certificate struct {
	certFile, keyFile string
	logger            *slog.Logger

	mu     sync.Mutex
	pair   *tls.Certificate
	read   [2]os.FileInfo // the state of the files when pair was read
	looked time.Time      // when the files were last checked
}

const certificateCheck = 5 * time.Second // how often the files are checked

// OpenCertificate reads a certificate with its chain, and its key, all in PEM. It returns an error if the
// pair cannot be used, or if everyone can read the key.
func OpenCertificate(certFile, keyFile string, logger *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, logger: logger, looked: time.Now()}
	if _, err := c.load(); err != nil {
		return nil, fmt.Errorf("the certificate: %w", err)
	}
	return c, nil
}

// TLSConfig returns the configuration of a server that shows the certificate.
func (c *Certificate) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current(), nil },
	}
}

// current returns the pair in the files. If the files cannot be used, for example because they are half
// written, current logs that and returns the last good pair; a later check tries again.
func (c *Certificate) current() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < certificateCheck {
		return c.pair
	}
	c.looked = time.Now()
	changed, err := c.load()
	switch {
	case err != nil:
		c.logger.Error("the new certificate cannot be used, so the old one stays in use", "error", err)
	case changed:
		c.logger.Info("a new certificate is in use", "not_after", c.pair.Leaf.NotAfter)
	}
	return c.pair
}

// load reads the files, unless they have not changed since they were last read. On an error it keeps the
// pair. The caller must hold c.mu, except before c is shared.
func (c *Certificate) load() (changed bool, err error) {
	var found [2]os.FileInfo
	for i, path := range []string{c.certFile, c.keyFile} {
		if found[i], err = os.Stat(path); err != nil {
			return false, err
		}
	}
	if c.pair != nil && sameFile(found[0], c.read[0]) && sameFile(found[1], c.read[1]) {
		return false, nil
	}
	if found[1].Mode().Perm()&0o007 != 0 {
		return false, fmt.Errorf("the key %s can be read by everyone (mode %04o): chmod o= it", c.keyFile,
			found[1].Mode().Perm())
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return false, err
	}
	c.pair, c.read = &pair, found
	return true, nil
}

// sameFile reports whether a file has not changed between a and b.
func sameFile(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// Pinned returns a client configuration that trusts exactly the certificate in a file, whatever names it is
// for. Clients on the server's own machine use it: they connect to an address that the certificate need not
// name.
func Pinned(certFile string) (*tls.Config, error) {
	want, err := os.ReadFile(certFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(want)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate", certFile)
	}
	return &tls.Config{
		// VerifyConnection compares the certificate instead
		MinVersion: tls.VersionTLS12, InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if !bytes.Equal(s.PeerCertificates[0].Raw, block.Bytes) {
				return errors.New("this is not the server with the certificate in " + certFile)
			}
			return nil
		},
	}, nil
}
