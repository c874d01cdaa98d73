package remote

import (
	"slices"
	"testing"
)

// No server of ours sends a NUL. But if one did and it was passed on, the command could never start.
func TestVariablesHaveNoNUL(t *testing.T) {
	t.Parallel()
	got := Variables{Content: "a\x00b", UserID: "al\x00ice"}.environ()
	for _, want := range []string{"FABRIC_CONTENT=ab", "FABRIC_USER_ID=alice"} {
		if !slices.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
