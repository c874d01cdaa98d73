package nodetest

import (
	"crypto/tls"
	"crypto/x509"
	"sync"
	"testing"

	"fabric-guild/handlers/e2e/guildtest"
)

// OwnPair is the certificate of all nodes. Their clients trust it.
var OwnPair = sync.OnceValue(guildtest.NewPair)

func certificate(t testing.TB) (certFile, keyFile string) { return OwnPair().Write(t, t.TempDir()) }

// Trusting returns the configuration of a client that trusts the nodes.
func Trusting() *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(OwnPair().Cert)
	return &tls.Config{RootCAs: pool}
}
