// Package config reads the settings from flags and environment variables. The rest of the program gets only
// the values and never reads the environment.
package config

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// EnvPrefix begins the names of environment variables. Every flag has one: the variable of -database-url is
// EnvPrefix + "DATABASE_URL".
const EnvPrefix = "FABRIC_BACKEND_GUILD_"

// ErrUsage is wrapped by every error about a flag, its value, or the arguments.
var ErrUsage = errors.New("see fabric-guild -h")

// Parse parses the arguments of the command with this name. Each define function defines some of its flags.
// Parse returns the arguments after the flags. A flag that is not among the arguments gets the value of its
// environment variable. DATABASE_URL is a second variable of -database-url. With -h, Parse writes the help
// to stderr and returns flag.ErrHelp. Other errors wrap ErrUsage.
func Parse(
	name string, args []string, getenv func(string) string, stderr io.Writer, define ...func(*flag.FlagSet),
) (rest []string, err error) {
	f := flag.NewFlagSet("fabric-guild "+name, flag.ContinueOnError)
	for _, d := range define {
		d(f)
	}
	help := f.Usage
	f.Usage = func() {} // after an error, the long usage text would hide the error
	f.SetOutput(io.Discard)
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			f.SetOutput(stderr)
			help()
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", explain(f, err), ErrUsage)
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
			env = "DATABASE_URL"
			value = getenv(env)
		}
		if value == "" || err != nil {
			return
		}
		if e := fl.Value.Set(value); e != nil {
			if isDuration(fl) {
				e = errDuration
			}
			err = fmt.Errorf("environment variable %s: %w: %w", env, e, ErrUsage)
		}
	})
	if err != nil {
		return nil, err
	}
	return f.Args(), nil
}

// errDuration says how to write a duration. The package flag only says "parse error".
var errDuration = errors.New("must be a duration such as 90s, 15m or 720h")

// explain returns err, the error of f.Parse, or a better one if the value of a duration is wrong.
func explain(f *flag.FlagSet, err error) error {
	f.VisitAll(func(fl *flag.Flag) {
		wrong, found := strings.CutSuffix(err.Error(), " for flag -"+fl.Name+": parse error")
		if found && isDuration(fl) {
			err = fmt.Errorf("%s for flag -%s: %w", wrong, fl.Name, errDuration)
		}
	})
	return err
}

func isDuration(fl *flag.Flag) bool {
	value, ok := fl.Value.(flag.Getter)
	if !ok {
		return false
	}
	_, ok = value.Get().(time.Duration)
	return ok
}

// DefaultState returns the default state directory of the user with this id.
func DefaultState(uid int, getenv func(string) string) string {
	if uid == 0 {
		return "/var/lib/fabric-guild"
	}
	if dir := getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "fabric-guild")
	}
	return filepath.Join(getenv("HOME"), ".local", "state", "fabric-guild")
}

// StateFlag returns the value of -state with which a command finds the state directory dir from any working
// directory. It returns "" if the command needs no -state.
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
