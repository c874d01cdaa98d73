package handlers_test

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers"
	"fabric-guild/handlers/e2e/nodetest"
)

// The contract has the routes, all of them and no others.
func TestTheContractHasTheRoutes(t *testing.T) {
	t.Parallel()
	got, err := nodetest.Routes()
	if err != nil {
		t.Fatal(err)
	}
	want := handlers.Routes()
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-routes +contract:\n%s", diff)
	}
}

// The document is OpenAPI 3.1, as a validator that is not ours says, and served.
func TestTheContractIsOpenAPI(t *testing.T) {
	dbtest.Long(t) // TestTheContractHasTheRoutes is fast
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	served, err := n.User("ann").Do("GET", "/openapi.json", nil)
	if err != nil || served.Status != http.StatusOK {
		t.Fatalf("got %v and %v", served, err)
	}
	const modules = "../testdata/contract/node_modules"
	if _, err := os.Stat(modules); err != nil {
		t.Skipf("no validator: npm ci --prefix testdata/contract (%v)", err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "../testdata/contract/validate.mjs")
	cmd.Stdin = bytes.NewReader(served.Body)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
