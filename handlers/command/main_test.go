package command

import (
	"os"
	"testing"

	"fabric-guild/handlers/config"
	"fabric-guild/handlers/e2e/guildtest"
)

// program is the real one, built once.
var program guildtest.Program

func TestMain(m *testing.M) { os.Exit(program.Main(m, config.EnvPrefix)) }
