// Package proxytest runs the program behind what stands in front of it: proxies with the configurations that
// docs/proxies.md shows, several servers behind one of them, a pooler before the database.
package proxytest

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"fabric-guild/handlers/config"
	"fabric-guild/handlers/guildtest"
)

var program guildtest.Program

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("left out by -short")
		return
	}
	_ = flag.Set("test.parallel", "8") // they wait more than they work
	os.Exit(program.Main(m, config.EnvPrefix))
}
