// Package config reads what flags and environment set. The rest of the program gets values, never the
// environment.
package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// EnvPrefix begins the name of each flag's environment twin: -database-url is EnvPrefix + "DATABASE_URL".
const EnvPrefix = "FABRIC_BACKEND_GUILD_"

// ErrUsage is wrapped by every error that is the caller's: a flag, or its value.
var ErrUsage = errors.New("see fabric-guild -h")

// Parse reads the flags of the command of that name, as define lists them, and returns the arguments after
// them. What no flag sets comes from its environment twin. With -h it writes to stderr and returns flag.ErrHelp.
func Parse(name string, args []string, getenv func(string) string, stderr io.Writer, define ...func(*flag.FlagSet)) (rest []string, err error) {
	f := flag.NewFlagSet("fabric-guild "+name, flag.ContinueOnError)
	for _, d := range define {
		d(f)
	}
	help := f.Usage
	f.Usage = func() {} // it would bury the error
	f.SetOutput(io.Discard)
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			f.SetOutput(stderr)
			help()
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", err, ErrUsage)
	}
	given := map[string]bool{}
	f.Visit(func(fl *flag.Flag) { given[fl.Name] = true })
	f.VisitAll(func(fl *flag.Flag) {
		if given[fl.Name] {
			return
		}
		env := EnvPrefix + strings.ToUpper(strings.ReplaceAll(fl.Name, "-", "_"))
		value := getenv(env)
		if value == "" && fl.Name == "database-url" {
			env, value = "DATABASE_URL", getenv("DATABASE_URL")
		}
		if value == "" || err != nil {
			return
		}
		if e := fl.Value.Set(value); e != nil {
			err = fmt.Errorf("environment variable %s: %w: %w", env, e, ErrUsage)
		}
	})
	if err != nil {
		return nil, err
	}
	return f.Args(), nil
}

// DefaultState is the state directory where none is set, of the user with this id.
func DefaultState(uid int, getenv func(string) string) string {
	if uid == 0 {
		return "/var/lib/fabric-guild"
	}
	if dir := getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "fabric-guild")
	}
	return filepath.Join(getenv("HOME"), ".local", "state", "fabric-guild")
}

// StateFlag is what a command needs to find the state directory, from any other one.
func StateFlag(dir string, getenv func(string) string) string {
	if dir == DefaultState(os.Getuid(), getenv) {
		return ""
	}
	path, err := filepath.Abs(dir)
	if err != nil {
		return dir
	}
	return path
}
