package handlers_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/handlers/e2e/nodetest"
	"fabric-guild/handlers/web"
)

// The sources use the codes of the table, each of them, and with the table's status.
func TestTheContractHasTheErrorCodesOfTheSources(t *testing.T) {
	t.Parallel()
	sources := sourcesOf(t, ".", "web", "auth", "edge")
	statuses := map[string]int{} // by the name of the constant in net/http
	for status := 400; status < 600; status++ {
		statuses["Status"+strings.NewReplacer(" ", "", "-", "").Replace(http.StatusText(status))] = status
	}
	want := map[string]int{}
	for _, c := range web.ErrorCodes {
		want[c.Code] = c.Status
	}
	got := map[string]int{}
	withStatus := regexp.MustCompile(`(?:NewProblem|ofFields)\(http\.(\w+), "([a-z_]+)"`)
	alone := regexp.MustCompile(`(?:p\.Code = |code: )"([a-z_]+)"`)
	for _, file := range sources {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range withStatus.FindAllStringSubmatch(string(source), -1) {
			code, status := match[2], statuses[match[1]]
			got[code] = status
			if status != want[code] {
				t.Errorf("%s: got status %d for %s, want %d", file, status, code, want[code])
			}
		}
		for _, match := range alone.FindAllStringSubmatch(string(source), -1) {
			got[match[1]] = want[match[1]]
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-table +sources:\n%s", diff)
	}
}

// sourcesOf returns the paths of the Go files in dirs, without tests.
func sourcesOf(t *testing.T, dirs ...string) (all []string) {
	t.Helper()
	for _, dir := range dirs {
		found, err := filepath.Glob(dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return slices.DeleteFunc(all, func(file string) bool { return strings.HasSuffix(file, "_test.go") })
}

// openapi.json lists the codes of the table in its order, with status and advice.
func TestTheContractHasTheErrorCodes(t *testing.T) {
	t.Parallel()
	c, err := nodetest.TheContract()
	if err != nil {
		t.Fatal(err)
	}
	var codes struct {
		OneOf []struct {
			Const       string `json:"const"`
			Description string `json:"description"`
		} `json:"oneOf"`
	}
	if err := json.Unmarshal(c.Doc.Components.Schemas["Code"], &codes); err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, code := range codes.OneOf {
		got = append(got, code.Const+" "+code.Description)
	}
	for _, code := range web.ErrorCodes {
		want = append(want, fmt.Sprintf("%s %d: %s", code.Code, code.Status, code.Advice))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-table +openapi.json:\n%s", diff)
	}
}

// docs/api.md lists each code of the table in the row of its status, and no others.
func TestTheContractAndThePageHaveTheErrorCodes(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| ([45]\d\d(?:, [45]\d\d)*) \| (.*) \|$`)
	quoted := regexp.MustCompile("`([a-z_]+)`")
	statusesOf := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		for _, code := range quoted.FindAllStringSubmatch(m[2], -1) {
			statusesOf[code[1]] = m[1]
		}
	}
	for _, code := range web.ErrorCodes {
		statuses, ok := statusesOf[code.Code]
		if !ok || !slices.Contains(strings.Split(statuses, ", "), fmt.Sprint(code.Status)) {
			t.Errorf("docs/api.md has %s in a row of status %q, want %d", code.Code, statuses, code.Status)
		}
		delete(statusesOf, code.Code)
	}
	for code := range statusesOf {
		t.Errorf("docs/api.md names %s, which is no code of the table", code)
	}
}
