// Package openclawtest runs the plugin on the real OpenClaw: its gateway as a process, with a model that the
// tests play. Each message that wakes the agent must be answered exactly once, whatever is killed meanwhile.
package openclawtest

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/guildtest"
)

var program guildtest.Program

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("skipped by -short")
		return
	}
	os.Exit(program.Main(m, config.EnvPrefix))
}
