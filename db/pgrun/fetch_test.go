package pgrun

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// source serves the machine's own binaries in the layout of DefaultSource, and records the paths of all
// requests.
type source struct {
	*httptest.Server
	name    string // of the archive
	archive []byte
	asked   []string // paths
}

func newSource(t *testing.T) *source {
	t.Helper()
	b, err := findBinaries(t.Context(), accountOfTest(t), "", 0, usualPlaces())
	if err != nil {
		t.Fatal(err)
	}
	name, err := releaseName()
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]string{}
	for _, tool := range []string{"postgres", "initdb"} {
		// A server finds its other files relative to its binaries, so the archive holds scripts that run the
		// binaries in their place.
		entries[name+"/bin/"+tool] = fmt.Sprintf("#!/bin/sh\nexec '%s' \"$@\"\n", b.path(tool))
	}
	s := &source{name: name, archive: pack(t, entries)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked = append(s.asked, r.URL.Path)
		switch r.URL.Path {
		case "/" + releaseVersion + "/" + name + ".tar.gz":
			_, _ = w.Write(s.archive)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// digests returns the correct digest of the current archive.
func (s *source) digests() map[string]string {
	return map[string]string{s.name: fmt.Sprintf("%x", sha256.Sum256(s.archive))}
}

func pack(t *testing.T, entries map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, content := range entries {
		h := &tar.Header{Name: name, Mode: 0o700, Size: int64(len(content)), Typeflag: tar.TypeReg}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{w.Close(), z.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// without returns the configuration of a machine without Postgres.
func without(t *testing.T, source string) Config {
	t.Helper()
	t.Setenv("PATH", "/nowhere") // not parallel
	return Config{Dir: stateDir(t), Source: source, places: []string{}}
}

func TestBinariesAreFetchedOnce(t *testing.T) {
	s := newSource(t)
	cfg := without(t, s.URL+"/")
	cfg.digests = s.digests()
	var said []string
	cfg.Progress = func(line string) { said = append(said, line) }
	var done, total int64
	cfg.Fetching = func(d, t int64) { done, total = d, t }
	old := syscall.Umask(0o077) // the server's user must be able to read the files nevertheless
	defer syscall.Umask(old)

	pg := startWith(t, cfg)
	if got := query[int](t, connect(t, pg.URL()), `SELECT 1`); got != 1 {
		t.Errorf("got %d", got)
	}
	stop(t, pg)
	if len(said) != 2 {
		t.Errorf("got %d lines of progress, want 2: %q", len(said), said)
	}
	for _, part := range []string{s.URL, cfg.Dir, "-postgres-source never"} {
		if len(said) == 0 || !strings.Contains(said[0], part) {
			t.Errorf("got %q, want the first line to contain %q", said, part)
		}
	}
	if int(done) != len(s.archive) || done != total {
		t.Errorf("got progress up to %d of %d, want %d", done, total, len(s.archive))
	}
	if len(s.asked) != 1 {
		t.Errorf("got requests for %v, want one", s.asked)
	}
	stop(t, startWith(t, cfg))
	if len(s.asked) != 1 {
		t.Errorf("got requests for %v at the second start, want none", s.asked[1:])
	}
	if left, _ := filepath.Glob(filepath.Join(fetchedDir(cfg.Dir), ".new-*")); len(left) > 0 {
		t.Errorf("got %v left over, want nothing", left)
	}
}

// A user who is not root can fetch the binaries too. If root runs this test, the helper runs as the user
// nobody.
func TestANormalUserFetchesToo(t *testing.T) {
	s := newSource(t)
	dir := stateDir(t)
	attr := &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
		if err := os.Chown(filepath.Dir(dir), 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", "/nowhere")
	t.Setenv(helperSource, s.URL)
	t.Setenv(helperDigest, s.digests()[s.name])
	program := filepath.Join(filepath.Dir(dir), "program") // where that user can run it
	copyFile(t, program, self(t))
	h := startHelper(t, dir, program, attr)
	if !strings.HasPrefix(h.line, "postgres://") {
		t.Fatalf("got %q, want a URL", h.line)
	}
	_ = h.stdin.Close()
	if err := h.cmd.Wait(); err != nil {
		t.Error(err)
	}
	if len(s.asked) != 1 {
		t.Errorf("got requests for %v, want one", s.asked)
	}
}

func TestFailedFetchIsAnErrorAndLeavesNothing(t *testing.T) {
	name, err := releaseName()
	if err != nil {
		t.Fatal(err)
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	for rule, test := range map[string]struct {
		change func(t *testing.T, s *source) string // returns the source's URL
		want   []string
	}{
		"forbidden": {
			change: func(*testing.T, *source) string { return "" },
		},
		"offline": {
			change: func(*testing.T, *source) string { return closed.URL },
			want:   []string{"could not be fetched", "refused"},
		},
		"not found": {
			change: func(_ *testing.T, s *source) string { return s.URL + "/elsewhere" },
			want:   []string{"404"},
		},
		"archive without a server": {
			change: packed(map[string]string{name + "/README": "hello"}),
			want:   []string{"holds no postgres"},
		},
		"archive that leads outside": {
			change: packed(map[string]string{"../../escape": "hello"}),
			want:   []string{"unpack"},
		},
		"not an archive": {
			change: garbage,
			want:   []string{"unpack"},
		},
	} {
		t.Run(rule, func(t *testing.T) {
			s := newSource(t)
			cfg := without(t, test.change(t, s))
			cfg.digests = s.digests()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			_, err := Start(ctx, cfg)
			wantError(t, err, test.want...)
			wantError(t, err, "no Postgres on this machine", "apt install postgresql", "-database-url")
			var left []string
			_ = filepath.WalkDir(filepath.Dir(cfg.Dir), func(path string, d fs.DirEntry, err error) error {
				if err == nil && !d.IsDir() && !strings.HasSuffix(path, ".lock") {
					left = append(left, path)
				}
				return nil
			})
			if len(left) > 0 {
				t.Errorf("got %v left over, want nothing", left)
			}
			if rule == "forbidden" && len(s.asked) > 0 {
				t.Errorf("got requests for %v, want none", s.asked)
			}
		})
	}
}

// An archive is used only if it has the digest that the program knows. What the source says about it does not
// count.
func TestAnArchiveMustHaveThePinnedDigest(t *testing.T) {
	s := newSource(t)
	cfg := without(t, s.URL) // expects the digests of the release, which this archive does not have
	_, err := Start(t.Context(), cfg)
	wantError(t, err, "SHA-256", releaseDigests[s.name], "not used")
	if exists(filepath.Join(fetchedDir(cfg.Dir), s.name)) {
		t.Error("the binaries of an archive with another digest were unpacked")
	}
	s.asked = nil
	cfg.digests = map[string]string{}
	_, err = Start(t.Context(), cfg)
	wantError(t, err, "knows no checksum of "+s.name)
	if len(s.asked) > 0 {
		t.Errorf("got requests for %v without a digest, want none", s.asked)
	}
}

func TestEachPlatformHasADigest(t *testing.T) {
	t.Parallel()
	for _, platform := range []string{
		"x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "x86_64-apple-darwin",
		"aarch64-apple-darwin",
	} {
		name := "postgresql-" + releaseVersion + "-" + platform
		if b, err := hex.DecodeString(releaseDigests[name]); err != nil || len(b) != sha256.Size {
			t.Errorf("got %q for %s, want a SHA-256", releaseDigests[name], name)
		}
	}
	if major, _, _ := strings.Cut(releaseVersion, "."); major != strconv.Itoa(releaseMajor) {
		t.Errorf("got major version %d of %s", releaseMajor, releaseVersion)
	}
	if !strings.HasPrefix(DefaultSource, "https://") {
		t.Errorf("got %s, want an https source, which nobody can change in transit", DefaultSource)
	}
}

func packed(entries map[string]string) func(t *testing.T, s *source) string {
	return func(t *testing.T, s *source) string {
		t.Helper()
		s.archive = pack(t, entries)
		return s.URL
	}
}

func garbage(_ *testing.T, s *source) string {
	s.archive = []byte("garbage")
	return s.URL
}

func TestBar(t *testing.T) {
	t.Parallel()
	const mega = 1 << 20
	for terminal, want := range map[bool]string{
		false: "fetched 0.0 of 8.0 MiB\nfetched 4.0 of 8.0 MiB\nfetched 8.0 of 8.0 MiB\n",
		true: "\r[" + strings.Repeat(" ", 30) + "] 0.0 of 8.0 MiB" +
			"\r[" + strings.Repeat("#", 15) + strings.Repeat(" ", 15) + "] 4.0 of 8.0 MiB" +
			"\r[" + strings.Repeat("#", 30) + "] 8.0 of 8.0 MiB\n",
	} {
		var b bytes.Buffer
		bar := Bar(&b, terminal)
		for _, done := range []int64{1, 2, 4 * mega, 4*mega + 1, 8 * mega} {
			bar(done, 8*mega)
		}
		bar(5, -1)
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("terminal %v (-want +got):\n%s", terminal, diff)
		}
	}
}
