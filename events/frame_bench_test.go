package events

import "testing"

// BenchmarkFrame encodes a message in each of its variants. A post pays this once, however many users hear
// it.
func BenchmarkFrame(b *testing.B) {
	for _, to := range []struct{ variant, user string }{{"mention", "alice"}, {"not_addressed", "carol"}} {
		b.Run(to.variant, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e := &Event{Cursor: Cursor{1, 2}, Kind: MessageCreated, ChannelID: ops, Message: &Message{
					XType: General, AuthorUserID: "bob", Content: "hi <@alice>",
					MentionUserIDs: []string{"alice"},
				}}
				e.FrameFor(to.user, Interval{}, &Filter{})
			}
		})
	}
}
