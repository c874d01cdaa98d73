// Package clienttest has real clients follow a stream of the program through what happens to connections:
// libraries of Node and Go, a browser, curl. docs/clients.md lists what each of them needs.
package clienttest

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
	os.Exit(program.Main(m, config.EnvPrefix))
}
