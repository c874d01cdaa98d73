// Package proxytest runs the program behind real proxies with the configurations of docs/proxies.md. It also
// tests several servers behind one proxy, and a connection pooler in front of the database.
package proxytest

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
	_ = flag.Set("test.parallel", "8") // these tests mostly wait
	os.Exit(program.Main(m, config.EnvPrefix))
}
