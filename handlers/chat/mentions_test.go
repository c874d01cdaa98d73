package chat

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMentions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"", nil},
		{"nobody", nil},
		{"<@alice>", []string{"alice"}},
		{"hi <@alice>, <@bob@example.org>!", []string{"alice", "bob@example.org"}},
		{"<@bob> <@alice> <@bob>", []string{"bob", "alice"}},
		{"<@user.id:alice>", []string{"alice"}},
		{"<@user.name:Alice>", nil},
		{"<@>", nil},
		{"<@ alice>", nil},
		{"<@al<@bob>", []string{"bob"}},
		{"<@alice", nil},
		{"<@" + strings.Repeat("x", 129) + ">", nil},
	} {
		if diff := cmp.Diff(tt.want, Mentions(tt.text)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.text, diff)
		}
	}
}

func FuzzMentions(f *testing.F) {
	f.Add("hi <@alice> <@user.id:bob> <@")
	f.Fuzz(func(t *testing.T, text string) {
		seen := map[string]bool{}
		for _, id := range Mentions(text) {
			if !ValidID(id) || seen[id] {
				t.Errorf("%q is no id, or comes twice", id)
			}
			if !strings.Contains(text, "<@"+id+">") && !strings.Contains(text, "<@user.id:"+id+">") {
				t.Errorf("%q is not mentioned", id)
			}
			seen[id] = true
		}
	})
}
