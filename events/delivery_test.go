package events

import "testing"

func TestDecide(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rule      string
		xType     XType
		mentioned []string
		user      string
		want      Reason
		wakes     bool
	}{
		{"general, nobody mentioned: everyone", General, nil, "bob", Everyone, true},
		{"general, mentioned", General, []string{"bob"}, "bob", Mention, true},
		{"general, another one mentioned", General, []string{"bob"}, "carol", NotAddressed, false},
		{"general, the author", General, nil, "alice", Author, false},
		{"general, the author of a mention", General, []string{"bob"}, "alice", Author, false},
		{"report, nobody mentioned", Report, nil, "bob", Silent, false},
		{"report, mentioned", Report, []string{"bob"}, "bob", Silent, false},
		{"report, the author", Report, nil, "alice", Author, false},
		{"dm, the other", DM, nil, "bob", Direct, true},
		{"dm, the other, mentioned", DM, []string{"bob"}, "bob", Direct, true},
		{"dm, the author", DM, nil, "alice", Author, false},
	} {
		got := Facts{XType: tt.xType, Author: "alice", Mentioned: tt.mentioned}.Decide(tt.user)
		if got != tt.want || got.Wakes() != tt.wakes {
			t.Errorf("%s: got %v, wakes %v; want %v, %v", tt.rule, got, got.Wakes(), tt.want, tt.wakes)
		}
	}
}
