package pgrun

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// DefaultSource is the URL from which a machine without Postgres gets its binaries. The project behind it
// builds each release of PostgreSQL, unchanged, for many platforms.
const DefaultSource = "https://github.com/theseus-rs/postgresql-binaries/releases/download"

// The release that fetch gets.
const (
	releaseMajor   = 18
	releaseVersion = "18.4.0"
)

// releaseDigests maps the name of each archive of the release to its SHA-256. The digests are part of this
// program and not fetched with the archive: an attacker who can replace the archive can also replace a digest
// beside it. A new release needs new digests.
var releaseDigests = map[string]string{
	"postgresql-18.4.0-x86_64-unknown-linux-gnu": "65c06cf318b9a57525d842d658d6d18c" +
		"d461d12b3a89b57d6d8ed7cccbe2db53",
	"postgresql-18.4.0-aarch64-unknown-linux-gnu": "569984d426365c6ca3c197d2b3a999b7" +
		"3161ff1f3abc963824a8c3624620e5dd",
	"postgresql-18.4.0-x86_64-apple-darwin": "cbc38067a795d10bbddc730e61c835df" +
		"0b351c36a7bd2544d388790fcf50aa4d",
	"postgresql-18.4.0-aarch64-apple-darwin": "1b68828f524b638a24918e258b173d0f" +
		"16773547a0d3b83d9ba74473b61649f2",
}

const (
	fetchStall = 30 * time.Second // longest time without a byte
	fetchBytes = 256 << 20        // largest archive
)

// fetchedDir returns the directory of fetched binaries below the state directory. It holds one directory for
// each release.
func fetchedDir(state string) string { return filepath.Join(state, "postgres-binaries") }

// fetchedPlaces returns the pattern with which findBinaries looks for fetched binaries.
func fetchedPlaces(state string) string { return filepath.Join(fetchedDir(state), "*", "bin") }

// releaseName returns the name of the archive for this platform, without its suffix. The archive contains one
// directory of the same name.
func releaseName() (string, error) {
	cpu := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	system := map[string]string{"linux": "unknown-linux-gnu", "darwin": "apple-darwin"}[runtime.GOOS]
	if cpu == "" || system == "" {
		return "", fmt.Errorf("there is no archive for %s on %s", runtime.GOOS, runtime.GOARCH)
	}
	return "postgresql-" + releaseVersion + "-" + cpu + "-" + system, nil
}

// fetch downloads the binaries into the state directory. It puts all of them there or nothing. The archive
// must have the digest that this program knows, even if the user configures another source. fetch requests no
// archive for which it knows no digest.
func fetch(ctx context.Context, cfg Config) error {
	name, err := releaseName()
	if err != nil {
		return err
	}
	want, known := cfg.digests[name]
	if !known {
		return fmt.Errorf("this program knows no checksum of %s", name)
	}
	from := strings.TrimSuffix(cfg.Source, "/") + "/" + releaseVersion + "/" + name + ".tar.gz"
	home := fetchedDir(cfg.Dir)
	cfg.Progress(fmt.Sprintf("this machine has no suitable Postgres: fetching Postgres %s once, "+
		"into %s, from %s (forbid it with -postgres-source never)", releaseVersion, home, from))
	if err := MakeDirs(home, 0o755); err != nil {
		return err
	}
	// A crash may have left temporary directories. This process holds the lock of the state directory, so no
	// other process uses them.
	if leftovers, err := filepath.Glob(filepath.Join(home, ".new-*")); err == nil {
		for _, dir := range leftovers {
			_ = os.RemoveAll(dir)
		}
	}
	tmp, err := os.MkdirTemp(home, ".new-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	archive := filepath.Join(tmp, "archive")
	if err := download(ctx, from, archive, want, cfg.Fetching); err != nil {
		return err
	}
	unpacked := filepath.Join(tmp, "unpacked")
	if err := unpack(archive, unpacked); err != nil {
		return fmt.Errorf("unpack %s: %w", from, err)
	}
	bin := filepath.Join(unpacked, name, "bin")
	if !exists(filepath.Join(bin, "postgres")) || !exists(filepath.Join(bin, "initdb")) {
		return fmt.Errorf("%s holds no postgres and initdb in %s/bin", from, name)
	}
	if err := os.Rename(filepath.Join(unpacked, name), filepath.Join(home, name)); err != nil {
		return err
	}
	return syncDir(home)
}

// download writes the content of url to file. It returns an error unless the content's SHA-256 is want.
func download(ctx context.Context, url, file, want string, fetching func(done, total int64)) error {
	client := &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: fetchStall,
			ForceAttemptHTTP2:     true,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) == 10 || via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
				return errors.New("too many redirects, or a redirect away from https")
			}
			return nil
		},
	}
	defer client.CloseIdleConnections()
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	hash := sha256.New()
	if err := get(ctx, client, url, io.MultiWriter(f, hash), fetchBytes, fetching); err != nil {
		return err
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != want {
		return fmt.Errorf("%s has the SHA-256 %s and must have %s: the archive is not used", url, got, want)
	}
	return f.Close()
}

// get copies the content of url to a writer. It returns an error if the content is larger than limit bytes,
// or if no byte arrives for fetchStall.
func get(ctx context.Context, client *http.Client, url string, to io.Writer, limit int64,
	fetching func(done, total int64),
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(fetchStall, func() { cancel(fmt.Errorf("no data arrived for %v", fetchStall)) })
	defer stall.Stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, answer.Status)
	}
	var done int64
	body := io.LimitReader(answer.Body, limit+1)
	n, err := io.Copy(to, readerFunc(func(b []byte) (int, error) {
		n, err := body.Read(b)
		stall.Reset(fetchStall)
		done += int64(n)
		if fetching != nil {
			fetching(done, answer.ContentLength)
		}
		return n, err
	}))
	if err != nil {
		return fmt.Errorf("read %s: %w", url, cmp.Or(context.Cause(ctx), err))
	}
	if n > limit {
		return fmt.Errorf("%s is larger than %d bytes", url, limit)
	}
	return nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }
