// Package clienttest tests real clients: libraries for Node and Go, a browser, and curl. They follow a stream
// of the program while their connections break. docs/clients.md lists what each client needs.
package clienttest

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
