package nodetest

import (
	"crypto/tls"
	"crypto/x509"
	"sync"
	"testing"

	"fabric-guild/handlers/e2e/guildtest"
)

// The nodes' own, which their clients trust.
var OwnPair = sync.OnceValue(guildtest.NewPair)

func certificate(t testing.TB) (certFile, keyFile string) { return OwnPair().Write(t, t.TempDir()) }

func Trusting() *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(OwnPair().Cert)
	return &tls.Config{RootCAs: pool}
}
