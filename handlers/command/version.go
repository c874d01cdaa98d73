package command

import (
	"cmp"
	"runtime/debug"
)

// release is the version of a release. The linker sets it:
//
//	go build -ldflags "-X fabric-guild/handlers/command.release=v1.2.3" .
var release string

// version returns the name of the program, its version, and that of Go. Without a release the version is the
// one that go build takes from the Git repository: its tag, or the time and hash of its commit. A build that
// knows neither, such as that of go run, is an "unreleased" one.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "fabric-guild " + cmp.Or(release, "unreleased")
	}
	version := cmp.Or(release, info.Main.Version)
	if version == "" || version == "(devel)" {
		version = "unreleased"
	}
	return "fabric-guild " + version + " " + info.GoVersion
}
