package pgrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

// binaries is a directory that holds postgres and initdb.
type binaries struct {
	dir   string
	major int
}

func (b binaries) path(name string) string { return filepath.Join(b.dir, name) }

// usualPlaces returns patterns of the directories where distributions keep the
// server's binaries.
func usualPlaces() []string {
	return []string{
		"/usr/lib/postgresql/*/bin", // Debian, Ubuntu
		"/usr/pgsql-*/bin",          // PostgreSQL's own packages for Red Hat
		"/usr/bin",                  // Fedora, Arch
		"/usr/libexec/postgresql*",  // Alpine
		"/usr/local/pgsql/bin",      // from source
		"/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin",
	}
}

const howToInstall = `install it (Debian, Ubuntu: "apt install postgresql"; ` +
	`Fedora, RHEL: "dnf install postgresql-server") or pass -database-url`

var errNoPostgres = errors.New("no Postgres on this machine")

// obtainBinaries returns what findBinaries finds. If it finds no suitable
// binaries and cfg allows it, obtainBinaries fetches them.
func obtainBinaries(ctx context.Context, a account, cfg Config, want int) (binaries, error) {
	found, missing := findBinaries(ctx, a, cfg.BinDir, want, cfg.places)
	fetchable := errors.Is(missing, errNoPostgres) ||
		missing != nil && want == releaseMajor && found.major != want
	if !fetchable || cfg.Source == "" || cfg.BinDir != "" {
		return found, missing
	}
	if err := fetch(ctx, cfg); err != nil {
		if !errors.Is(missing, errNoPostgres) {
			// The machine has Postgres, but not the version that made the data.
			return found, fmt.Errorf("%w; and it could not be fetched: %w", missing, err)
		}
		return found, fmt.Errorf("%w, and it could not be fetched (%w): %s", errNoPostgres, err, howToInstall)
	}
	return findBinaries(ctx, a, cfg.BinDir, want, cfg.places)
}

// findBinaries looks for postgres and initdb. If override is not empty, it looks
// only there. Otherwise it looks in places and then along PATH. want is the
// major version of an existing cluster: no other version can serve it. If want
// is 0, findBinaries takes the newest. On a version mismatch it returns the
// newest binaries together with the error.
func findBinaries(
	ctx context.Context, a account, override string, want int, places []string,
) (binaries, error) {
	if override != "" {
		b, err := inspect(ctx, a, override)
		if err != nil {
			return b, err
		}
		return b, b.match(want)
	}
	var found binaries
	var refused error
	for _, dir := range candidates(places) {
		b, err := inspect(ctx, a, dir)
		if err != nil {
			refused = cmp.Or(refused, err)
			continue
		}
		if b.major == want {
			return b, nil
		}
		if b.major > found.major {
			found = b
		}
	}
	switch {
	case ctx.Err() != nil:
		return found, ctx.Err()
	case found.major == 0 && refused != nil:
		return found, refused
	case found.major == 0:
		return found, fmt.Errorf("%w: %s", errNoPostgres, howToInstall)
	}
	return found, found.match(want)
}

func (b binaries) match(want int) error {
	if want == 0 || want == b.major {
		return nil
	}
	return fmt.Errorf("the data was made by Postgres %d, and %s holds %d: "+
		"install Postgres %d, or move the data over with pg_upgrade or pg_dump",
		want, b.dir, b.major, want)
}

// candidates returns the directories that hold both binaries.
func candidates(places []string) []string {
	var dirs []string
	for _, pattern := range places {
		matches, err := filepath.Glob(pattern)
		if err == nil {
			dirs = append(dirs, matches...)
		}
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	var complete []string
	for _, dir := range dirs {
		if exists(filepath.Join(dir, "postgres")) && exists(filepath.Join(dir, "initdb")) {
			complete = append(complete, dir)
		}
	}
	return complete
}

var majorVersion = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// inspect runs "postgres -V" in dir to learn its version. It runs the program as
// the account that will run the server, to check that this account can.
func inspect(ctx context.Context, a account, dir string) (binaries, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return binaries{}, err
	}
	b := binaries{dir: dir}
	if !exists(b.path("postgres")) || !exists(b.path("initdb")) {
		return b, fmt.Errorf("no Postgres in %s: it must hold postgres and initdb", dir)
	}
	out, err := a.command(ctx, "/", b.path("postgres"), "-V").Output()
	if err != nil {
		return b, fmt.Errorf("run %s as user %s: %w", b.path("postgres"), a.name, err)
	}
	match := majorVersion.FindSubmatch(out)
	if match == nil {
		return b, fmt.Errorf("%s prints no version: %q", b.path("postgres"), out)
	}
	b.major, err = strconv.Atoi(string(match[1]))
	return b, err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
