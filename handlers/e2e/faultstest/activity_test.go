package faultstest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fabric-guild/db/dbtest"
	"fabric-guild/events/ssetest"
	"fabric-guild/handlers/e2e/guildtest"
)

// Two servers share a database, and drafts flow through both. One is killed: nothing hangs, every message
// arrives once, in order, and the drafts of the other server go on.
func TestServerIsKilledWhileDraftsFlow(t *testing.T) {
	t.Parallel()
	state, url := guildtest.StateDir(t), dbtest.New(t)
	one := program.Start(t, state, "-database-url", url)
	two := program.Start(t, state, "-database-url", url)
	address := two.Base()
	s := begin(t, two)
	channel := s.l.Channels[0]
	token := two.Token("alice")
	stream := listenToActivity(t, address, two.Token("bob"), channel)

	ctx, stop := context.WithCancel(t.Context())
	var drafts sync.WaitGroup
	var sent [2]atomic.Int64
	for i, base := range []string{one.Base(), address} {
		drafts.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				text := fmt.Sprintf("server %d draft %d %s", i, n, strings.Repeat("x", n%4000))
				status, err := guildtest.Call(ctx, http.MethodPost, base+"/api/channels/"+channel+"/activity",
					token,
					json.RawMessage(fmt.Sprintf(`{"kind":"draft","text":%q}`, text)), nil)
				if err == nil && status == http.StatusAccepted {
					sent[i].Add(1)
				}
				select {
				case <-time.After(20 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
	}
	guildtest.Eventually(t, "drafts of both servers arrive", guildtest.Recovery, func() bool {
		return stream.of[0].Load() > 2 && stream.of[1].Load() > 2
	})
	one.Kill()
	before := stream.of[1].Load()
	guildtest.Eventually(t, "drafts of the other server arrive", guildtest.Recovery, func() bool {
		return stream.of[1].Load() > before+10
	})
	s.l.AwaitMore(100, guildtest.Recovery)
	stop()
	drafts.Wait()
	s.l.StopWriting()
	s.l.Finish()
	for _, r := range s.readers {
		s.l.Verify(r, guildtest.Number)
	}
	if stream.withID.Load() > 0 {
		t.Error("got activity with an id")
	}
	if sent[0].Load() == 0 || stream.ended.Load() {
		t.Errorf("got %d drafts taken by the killed server, and the stream of the other one ended: %v",
			sent[0].Load(), stream.ended.Load())
	}
}

// An activityStream counts the drafts of each server that it shows.
type activityStream struct {
	of     [2]atomic.Int64
	withID atomic.Int64
	ended  atomic.Bool
}

// listenToActivity opens a stream with activity, until the end of the test.
func listenToActivity(t *testing.T, base, token, channel string) *activityStream {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r, err := http.NewRequestWithContext(ctx, http.MethodGet,
		base+"/api/stream?activity=true&channels="+channel, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("got %v and error %v for a stream", resp, err)
	}
	s := &activityStream{}
	var reading sync.WaitGroup
	reading.Go(func() {
		in := bufio.NewReader(resp.Body)
		for {
			f, err := ssetest.ReadFrame(in)
			if err != nil {
				s.ended.Store(true)
				return
			}
			if f.Event != "activity" {
				continue
			}
			if f.ID != "" {
				s.withID.Add(1)
			}
			for i := range s.of {
				if strings.Contains(f.Data, fmt.Sprintf(`"text":"server %d `, i)) {
					s.of[i].Add(1)
				}
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		reading.Wait()
		_ = resp.Body.Close()
	})
	return s
}
