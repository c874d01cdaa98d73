package command

import (
	"cmp"
	"runtime"
	"runtime/debug"
)

// release is the version of a release. The linker sets it:
//
//	go build -ldflags "-X fabric-guild/handlers/command.release=v1.2.3" .
var release string

// number returns the version. Without a release it is the one that go build takes from the Git repository:
// its tag, or the time and hash of its commit. A build that knows neither, such as that of go run, is
// "unreleased".
func number() string {
	var built string
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "(devel)" {
		built = info.Main.Version
	}
	return cmp.Or(release, built, "unreleased")
}

// version returns the name of the program, its version, and that of Go.
func version() string { return "fabric-guild " + number() + " " + runtime.Version() }
