package handlers_test

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"fabric-guild/handlers/e2e/nodetest"
)

// BenchmarkPost is a post over HTTP, by eight at a time, from the request to its answer; nobody listens. What
// is allocated is the client's too.
func BenchmarkPost(b *testing.B) {
	for _, members := range []int{10, 1000} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			n := nodetest.Start(b, nodetest.Setup{})
			ann := n.User("ann")
			var others []string
			for i := range members - 1 {
				others = append(others, fmt.Sprint("u", i))
			}
			room := nodetest.NewChannel{GuildID: "g1", Name: "ops", XType: "general", Members: others}
			path := "/api/channels/" + nodetest.Call[nodetest.Created](b, ann, 201, "POST", "/api/channels",
				room).Channel.ID + "/messages"
			b.ReportAllocs()
			b.ResetTimer()
			b.SetParallelism(max(1, 8/runtime.GOMAXPROCS(0)))
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := posts(ann, b, path); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// posts is do without a look at what the contract says of the answer, which would cost more than the post.
func posts(u *nodetest.User, b *testing.B, path string) error {
	r, err := http.NewRequestWithContext(b.Context(), "POST", u.Node.URL+path,
		strings.NewReader(`{"content":"hi"}`))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+u.Token)
	r.Header.Set("Content-Type", "application/json")
	resp, err := u.Node.Client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("got %s", resp.Status)
	}
	return nil
}
