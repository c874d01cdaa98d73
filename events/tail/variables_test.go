package tail

import (
	"slices"
	"testing"

	"fabric-guild/events"
	"fabric-guild/events/follow"
)

// No server of ours sends a NUL. But if one did and tail passed it on, tail could never start the command for
// that event.
func TestVariablesHaveNoNUL(t *testing.T) {
	t.Parallel()
	data := []byte(`{"content":"a\u0000b","authorUserId":"al\u0000ice"}`)
	e := decode(follow.Event{ID: "1.2", Name: string(events.MessageCreated), Data: data})
	got := (&runner{}).variables(e)
	for _, want := range []string{"FABRIC_CONTENT=ab", "FABRIC_USER_ID=alice"} {
		if !slices.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
