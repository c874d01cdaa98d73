package edge_test

import (
	"bytes"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fabric-guild/handlers/e2e/guildtest"
	"fabric-guild/handlers/edge"
)

// A certificate that is renewed is in use seconds later; one that cannot be used changes nothing.
func TestANewCertificateIsTakenUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, second := guildtest.NewPair(), guildtest.NewPair()
	certFile, keyFile := first.Write(t, dir)
	shown := func(c *edge.Certificate) []byte {
		t.Helper()
		pair, err := c.TLSConfig().GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
	}
	synctest.Test(t, func(t *testing.T) {
		log := &bytes.Buffer{}
		c, err := edge.OpenCertificate(certFile, keyFile, slog.New(slog.NewTextHandler(log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			name   string
			change func() error
			want   guildtest.Pair
			log    string
		}{
			{"nothing", func() error { return nil }, first, ""},
			{
				"a certificate without its key",
				func() error { return os.WriteFile(certFile, second.Cert, 0o600) }, first,
				"the old one stays in use",
			},
			{
				"half a key", func() error { return os.WriteFile(keyFile, second.Key[:40], 0o600) }, first,
				"the old one stays in use",
			},
			{
				"the key", func() error { return os.WriteFile(keyFile, second.Key, 0o600) }, second,
				"a new certificate is in use",
			},
			{
				"a key that everyone can read",
				func() error {
					return errors.Join(os.WriteFile(keyFile, first.Key, 0o600),
						os.Chmod(keyFile, 0o604))
				}, second, "chmod o= it",
			},
			{
				"no files", func() error { return errors.Join(os.Remove(certFile), os.Remove(keyFile)) },
				second,
				"no such file",
			},
			{
				"the first again, moved there", func() error { first.Write(t, dir); return nil }, first,
				"a new certificate is in use",
			},
		} {
			if err := step.change(); err != nil {
				t.Fatal(err)
			}
			before := len(log.String())
			time.Sleep(5 * time.Second)
			if got := shown(c); !bytes.Equal(got, step.want.Cert) {
				t.Errorf("%s: got another certificate", step.name)
			}
			if got := log.String()[before:]; !strings.Contains(got, step.log) ||
				(got == "") != (step.log == "") {
				t.Errorf("%s: got the log %q, want %q", step.name, got, step.log)
			}
			if got := log.String(); strings.Contains(got, "PRIVATE") ||
				strings.Contains(got, string(second.Key[40:60])) {
				t.Errorf("%s: got the key in the log", step.name)
			}
		}
	})
	for _, wrong := range []func() error{
		func() error { return os.Chmod(keyFile, 0o644) },
		func() error { return os.Remove(keyFile) },
	} {
		if err := wrong(); err != nil {
			t.Fatal(err)
		}
		if _, err := edge.OpenCertificate(certFile, keyFile, slog.New(slog.DiscardHandler)); err == nil ||
			!strings.Contains(err.Error(), keyFile) {
			t.Errorf("got error %v, want one that names the file", err)
		}
	}
}
