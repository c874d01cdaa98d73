package fairtest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// escaped is a text with 6 bytes of JSON for each byte. It is just below the 64 KiB that a body may have.
var escaped = strings.Repeat("\u0001", 10_800)

// attacks has a test for each route that costs something.
var attacks = []attack{
	{
		name:    "history pages of 13 MB, 60 connections that do not read",
		prepare: func(s *scene) { s.post(sized(200, 20), escaped) },
		run: func(ctx context.Context, s *attacker) {
			s.hold(ctx, sized(60, 6), http.MethodGet, historyPage(s, 0), s.Tokens[mallory])
		},
	},
	{
		name:    "history pages of 13 MB, 100 streams of one HTTP2 connection",
		prepare: func(s *scene) { s.post(sized(200, 20), escaped) },
		run: func(ctx context.Context, s *attacker) {
			s.holdHTTP2(ctx, sized(100, 6), historyPage(s, 0))
		},
	},
	{
		name:    "history pages of 13 MB, read by 200 connections",
		prepare: func(s *scene) { s.post(sized(200, 20), escaped) },
		run:     asks(200, 6, historyPage),
	},
	{
		name:    "the history of a channel joined 8,000 times, 200 connections",
		prepare: func(s *scene) { s.pastMemberships(sized(8000, 100)) },
		run:     asks(200, 6, historyPage),
	},
	{
		name:    "16 resumes after 8,000 joins and leaves",
		prepare: func(s *scene) { s.pastMemberships(sized(8000, 100)) },
		run: func(ctx context.Context, s *attacker) {
			loops(ctx, 16, func(int) { s.openFor(ctx, s.Tokens[mallory], s.Start, 50*time.Millisecond) })
		},
	},
	{
		name: "replies in a channel joined 8,000 times",
		prepare: func(s *scene) {
			s.post(1, "first")
			s.pastMemberships(sized(8000, 100))
		},
		run: func(ctx context.Context, s *attacker) {
			loops(ctx, 8, func(int) {
				body := map[string]any{"content": "x", "replyTo": s.Messages[0]}
				s.ask(ctx, http.MethodPost, "/api/channels/"+s.Channel+"/messages", body)
			})
		},
	},
	{
		name:    "snapshots by sync with the largest number of channels, 32 connections",
		prepare: func(s *scene) { s.pile() },
		run: func(ctx context.Context, s *attacker) {
			loops(ctx, sized(32, 4),
				func(int) { s.askAs(ctx, s.Tokens["target"], http.MethodGet, "/api/sync", nil) })
		},
	},
	{
		name:    "streams with the largest number of channels, 16 that reconnect again and again",
		prepare: func(s *scene) { s.pile() },
		run: func(ctx context.Context, s *attacker) {
			loops(ctx, 16, func(int) { s.openFor(ctx, s.Tokens["target"], "", 100*time.Millisecond) })
		},
	},
	{
		// each new name is a new snapshot, so these streams share none
		name: "streams with the largest number of channels, one of which gets new names all the time",
		prepare: func(s *scene) {
			s.Channel = s.create("target", map[string]any{})
			s.pile()
		},
		run: func(ctx context.Context, s *attacker) {
			var naming sync.WaitGroup
			token := s.Tokens["target"]
			naming.Go(func() {
				loops(ctx, 2, func(int) {
					body := map[string]any{"name": fmt.Sprint("name ", s.fresh.Add(1))}
					s.askAs(ctx, token, http.MethodPatch, "/api/channels/"+s.Channel, body)
				})
			})
			loops(ctx, 16, func(int) { s.openFor(ctx, token, "", 100*time.Millisecond) })
			naming.Wait()
		},
	},
	{
		name:    "first polls with the largest number of channels",
		prepare: func(s *scene) { s.pile() },
		run: func(ctx context.Context, s *attacker) {
			token := s.Tokens["target"]
			loops(ctx, sized(64, 4), func(int) { s.askAs(ctx, token, http.MethodGet, "/api/events", nil) })
		},
	},
	{
		name:  "448 idle connections without a token",
		files: 512,
		run: func(ctx context.Context, s *attacker) {
			s.hold(ctx, sized(600, 100), http.MethodGet, "/healthz", "")
		},
	},
	{
		name:   "invented tokens, 1,600 connections, Center answers in 100 ms",
		center: true,
		run: func(ctx context.Context, s *attacker) {
			loops(ctx, sized(1600, 8), func(i int) {
				s.askAs(ctx, fmt.Sprintf("invented-%d-%d", i, s.fresh.Add(1)), http.MethodGet, "/api/me", nil)
			})
		},
	},
	{
		name: "16 suspended clients, and a 17th",
		run: func(ctx context.Context, s *attacker) {
			var stopped sync.WaitGroup
			stopped.Go(func() { s.hold(ctx, 16, http.MethodGet, "/api/stream", s.Tokens[mallory]) })
			loops(ctx, 1, func(int) { s.openFor(ctx, s.Tokens[mallory], "", 100*time.Millisecond) })
			stopped.Wait()
		},
	},
	{
		name: "bytes sent on 16 open streams",
		run:  func(ctx context.Context, s *attacker) { s.flood(ctx, 16) },
	},
	{
		name: "16 streams of large messages that read nothing",
		run: func(ctx context.Context, s *attacker) {
			var silent sync.WaitGroup
			silent.Go(func() { s.hold(ctx, 16, http.MethodGet, "/api/stream?echo=true", s.Tokens[mallory]) })
			loops(ctx, 2, func(int) { s.postLarge(ctx) })
			silent.Wait()
		},
	},
	{
		name:    "16 resumes with large messages in the event log that read nothing",
		prepare: func(s *scene) { s.post(sized(200, 20), escaped) },
		restart: true,
		run: func(ctx context.Context, s *attacker) {
			s.hold(ctx, 16, http.MethodGet, "/api/stream?echo=true&lastEventId="+s.Start, s.Tokens[mallory])
		},
	},
	{
		name: "bodies with 7,000 unknown members",
		run: func(ctx context.Context, s *attacker) {
			body := unknownMembers(sized(7000, 7000))
			loops(ctx, sized(32, 4), func(int) { s.ask(ctx, http.MethodPost, "/api/channels", body) })
		},
	},
	{
		name:    "posts with 200 mentions, at the rate limit",
		prepare: func(s *scene) { s.crowd(sized(1000, 200)) },
		run: func(ctx context.Context, s *attacker) {
			body := map[string]any{"content": mentions(200)}
			loops(ctx, 8, func(int) {
				s.ask(ctx, http.MethodPost, "/api/channels/"+s.Channel+"/messages", body)
			})
		},
	},
	{
		name:    "edits of large messages, at the rate limit",
		prepare: func(s *scene) { s.post(8, "first") },
		run: func(ctx context.Context, s *attacker) {
			loops(ctx, 8, func(i int) {
				body := map[string]any{"content": fmt.Sprintf("%d %s", s.fresh.Add(1), escaped[:10_000])}
				s.ask(ctx, http.MethodPatch, "/api/messages/"+s.Messages[i], body)
			})
		},
	},
	{
		name: "channels of 1,000 members, at the rate limit",
		run: func(ctx context.Context, s *attacker) {
			members := names(sized(1000, 100))
			body := map[string]any{
				"guildId": "g1", "name": "more", "xType": "general",
				"memberUserIds": members,
			}
			loops(ctx, 8, func(int) { s.ask(ctx, http.MethodPost, "/api/channels", body) })
		},
	},
	{
		name: "joins and leaves, at the rate limit",
		run: func(ctx context.Context, s *attacker) {
			loops(ctx, 4, func(i int) {
				s.ask(ctx, http.MethodPost, "/api/channels/"+s.Channel+[]string{"/leave", "/join"}[i%2], nil)
			})
		},
	},
	{
		name: "rosters and deliveries of 1,000 members, 200 connections",
		prepare: func(s *scene) {
			s.crowd(sized(1000, 100))
			s.post(1, "first")
		},
		run: asks(200, 6, func(s *attacker, i int) string {
			if i%2 == 0 {
				return "/api/messages/" + s.Messages[0] + "/deliveries?limit=200"
			}
			return "/api/channels/" + s.Channel + "/members?limit=200"
		}),
	},
	{
		name:    "lists of public channels, 200 connections",
		prepare: func(s *scene) { s.publicChannels(sized(20_000, 100)) },
		run:     asks(200, 6, func(*attacker, int) string { return "/api/channels?member=any&limit=200" }),
	},
	{
		name: "paths of 30 KB without a token",
		run: func(ctx context.Context, s *attacker) {
			path := "/" + strings.Repeat("x", 30_000)
			loops(ctx, sized(64, 4), func(int) { s.askAs(ctx, "", http.MethodGet, path, nil) })
		},
	},
	{
		name: "metrics and OpenAPI without a token, 64 connections",
		run: func(ctx context.Context, s *attacker) {
			paths := []string{"/metrics", "/openapi.json"}
			loops(ctx, sized(64, 4), func(i int) { s.askAs(ctx, "", http.MethodGet, paths[i%2], nil) })
		},
	},
}

// historyPage returns the path of the largest page of the history of mallory's channel.
func historyPage(s *attacker, _ int) string {
	return "/api/channels/" + s.Channel + "/messages?limit=200"
}

// asks returns a run of an attack that sends GET requests in loops, fewer of them in the small run.
func asks(all, few int, path func(s *attacker, i int) string) func(ctx context.Context, s *attacker) {
	return func(ctx context.Context, s *attacker) {
		loops(ctx, sized(all, few), func(i int) { s.ask(ctx, http.MethodGet, path(s, i), nil) })
	}
}

func names(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("user-%d", i))
	}
	return all
}

func mentions(n int) string {
	var b strings.Builder
	for _, u := range names(n) {
		b.WriteString("<@" + u + ">")
	}
	return b.String()
}

func unknownMembers(n int) []byte {
	var b strings.Builder
	b.WriteString(`{"guildId":"g1"`)
	for i := range n {
		_, _ = fmt.Fprintf(&b, `,"%d":0`, i)
	}
	b.WriteString("}")
	return []byte(b.String())
}
