package pgrun

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

func TestFindBinaries(t *testing.T) {
	t.Setenv("PATH", "/nowhere") // not parallel
	base := filepath.Dir(stateDir(t))
	for _, version := range []int{14, 15, 9} {
		fakeBinaries(t, filepath.Join(base, strconv.Itoa(version), "bin"), version)
	}
	places := []string{filepath.Join(base, "*", "bin")}
	a := accountOfTest(t)

	tests := []struct {
		rule     string
		override string
		want     int // version of the data
		places   []string
		major    int
		err      []string
	}{
		{rule: "new data gets the newest version", places: places, major: 15},
		{rule: "existing data gets its own version", places: places, want: 14, major: 14},
		{rule: "an override wins", override: filepath.Join(base, "9", "bin"), places: places, major: 9},
		{
			rule: "an override with another version is an error", override: filepath.Join(base, "9", "bin"),
			want: 15,
			err:  []string{"Postgres 15", "holds 9"},
		},
		{
			rule: "an override without Postgres is an error", override: base, places: places,
			err: []string{base, "no Postgres in"},
		},
		{rule: "another version is an error", places: places, want: 12, err: []string{"install Postgres 12"}},
		{
			rule: "without Postgres the error says what to install",
			err: []string{
				"no Postgres", "apt install postgresql", "dnf install postgresql-server",
				"-database-url",
			},
		},
		{
			rule:   "without Postgres in the places the error says what to install",
			places: []string{filepath.Join(base, "none")},
			err:    []string{"apt install postgresql"},
		},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			got, err := findBinaries(t.Context(), a, test.override, test.want, test.places)
			if test.err != nil {
				wantError(t, err, test.err...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.major != test.major {
				t.Errorf("got version %d in %s, want %d", got.major, got.dir, test.major)
			}
		})
	}
}

func fakeBinaries(t *testing.T, dir string, version int) {
	t.Helper()
	if err := MakeDirs(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\necho 'postgres (PostgreSQL) " + strconv.Itoa(version) + ".4 (Debian)'\n"
	for _, name := range []string{"postgres", "initdb"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
