package db_test

import (
	"context"
	"fmt"
	"testing"

	"fabric-guild/db"
	"fabric-guild/db/dbtest"
	"fabric-guild/events"

	"github.com/google/uuid"
)

// BenchmarkPostMessage is the hot path: one post into a channel of some size, durably. Neither its time nor
// its allocations are to grow with the channel, but for the first members that an answer names.
func BenchmarkPostMessage(b *testing.B) {
	for _, members := range []int{10, 1000} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			d, err := db.Open(b.Context(), dbtest.New(b))
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			users := make([]string, members)
			for i := range users {
				users[i] = fmt.Sprintf("u%d", i)
			}
			channel := uuid.Must(uuid.NewV7())
			err = d.InTx(b.Context(), func(ctx context.Context, q db.Queries) error {
				c := events.Channel{ID: channel, GuildID: "g1", Name: "bench", XType: events.General, History: "joined", CreatedBy: "u0"}
				_, _, err := q.CreateChannel(ctx, &c, users, nil)
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if _, err := d.PostMessage(b.Context(), newMessage(channel, "u0", "hi")); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
