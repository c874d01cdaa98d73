package rulestest_test

import (
	"os"
	"testing"

	"fabric-guild/db/dbtest"
)

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m)) }
