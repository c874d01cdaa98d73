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

// BenchmarkPost measures the hot path: one durable post into a channel. Its time and its allocations must not
// grow with the channel, except for the first members, whom an answer names.
func BenchmarkPost(b *testing.B) {
	for _, n := range memberCounts {
		b.Run(fmt.Sprintf("members=%d", n), func(b *testing.B) {
			url := dbtest.New(b)
			d, err := db.Open(b.Context(), url)
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			channel := uuid.Must(uuid.NewV7())
			err = d.InTx(b.Context(), func(ctx context.Context, tx db.Tx) error {
				c := events.Channel{
					ID: channel, GuildID: "g1", Name: "bench", XType: events.General,
					History: "joined", CreatedBy: "u0", Settings: events.DefaultSettings(events.General),
				}
				_, _, err := tx.CreateChannel(ctx, &c, members(n), nil)
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			b.SetParallelism(8)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if _, err := d.Post(b.Context(), newMessage(channel, "u0", "hi")); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
