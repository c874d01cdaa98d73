package handlers_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fabric-guild/handlers/e2e/nodetest"
)

func TestRender(t *testing.T) {
	t.Parallel()
	n := nodetest.Start(t, nodetest.Setup{})
	alice := n.User("alice")
	type rendered struct {
		HTML []string `json:"html"`
	}
	texts := []string{"*hi* <@bob>", "", "<script>alert(1)</script>", "*hi* <@bob>"}
	hi := `<p><em>hi</em> <span class="mention" data-user-id="bob">@bob</span></p>` + "\n"
	want := rendered{[]string{hi, "", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>\n", hi}}
	for range 2 { // the second time the server remembers
		got := nodetest.Call[rendered](t, alice, 200, "POST", "/api/render", nodetest.Body{"contents": texts})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	large := strings.Repeat("x", 16<<10)
	nodetest.Call[rendered](t, alice, 200, "POST", "/api/render",
		nodetest.Body{"contents": []string{large, large, large}})
	nodetest.Call[rendered](t, alice, 200, "POST", "/api/render",
		nodetest.Body{"contents": strings.Split(strings.Repeat("x", 200), "")})
	for _, tt := range []struct {
		body   any
		status int
		code   string
	}{
		{nodetest.Body{}, 400, "malformed"},
		{nodetest.Body{"contents": []string{}}, 400, "malformed"},
		{nodetest.Body{"contents": "hi"}, 400, "malformed"},
		{nodetest.Body{"contents": []int{1}}, 400, "malformed"},
		{nodetest.Body{"contents": []any{"x", nil}}, 400, "malformed"},
		{nodetest.Body{"contents": strings.Split(strings.Repeat("x", 201), "")}, 400, "malformed"},
		{nodetest.Body{"contents": []string{large + "x"}}, 422, "content_too_long"},
		{nodetest.Body{"contents": []string{large, large, large, large}}, 413, "body_too_large"},
		{nodetest.Body{"contents": []string{"x"}, "html": true}, 400, "malformed"},
	} {
		alice.WantRefused(t, tt.status, tt.code, "POST", "/api/render", tt.body)
	}
}
