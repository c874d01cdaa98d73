package agent_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/guildtest"
)

// Agent and server are killed at random. Each message is answered once.
func TestKilledAtRandom(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	g := newGuild(t)
	other := g.NewChannel("other")
	start := func() *guildtest.Running {
		return g.launch(nil, "-parallel", "2", "-lease", "5s",
			"-exec", `echo run >>runs; printf %s "$FABRIC_CONTENT" | tr a-z A-Z`)
	}
	r := start()
	const rounds = 24
	said := 0
	for range rounds {
		for range 1 + rand.N(3) {
			g.Says([]string{g.Channel, other}[rand.N(2)], fmt.Sprintf("message %d", said))
			said++
		}
		switch rand.N(3) {
		case 0: // a command has just begun, or all is answered
			runs := g.file("runs")
			guildtest.Eventually(t, "one more run", guildtest.Patience, func() bool {
				return g.file("runs") != runs || g.Unanswered() == 0
			})
		case 1:
			guildtest.Eventually(t, "all answers", guildtest.Patience, func() bool {
				return g.Unanswered() == 0
			})
		}
		switch rand.N(3) {
		case 0:
			g.KillServer()
		default:
			r.Kill()
			r = start()
		}
	}
	g.AwaitEachAnsweredOnce()
	if q := g.queue(); len(q.Dead) != 0 {
		t.Errorf("got %+v, want no dead wakes", q.Dead)
	}
	answers := len(g.Answers(g.Channel)) + len(g.Answers(other))
	t.Logf("%d messages in %d answers, %d runs", said, answers, strings.Count(g.file("runs"), "\n")+1)
}

// A proxy loses every second answer, answers 429 and 503 itself, and wants a login at times. The agent sends
// each post again, with the same key and the same text, and nothing is posted twice.
func TestLostAnswers(t *testing.T) {
	dbtest.Long(t)
	t.Parallel()
	g := newGuild(t)
	bad := guildtest.NewSpoiler(t, g.Base())
	g.agent(`head -c 16385 /dev/zero | tr '\0' x; echo; echo end`, "-url", bad.URL)
	const messages = 8
	for i := range messages {
		g.Says(g.Channel, fmt.Sprint(i))
		guildtest.Eventually(t, "the answer", guildtest.Patience, func() bool { return g.Unanswered() == 0 })
	}
	answers := g.Answers(g.Channel)
	if len(answers) != 2*messages {
		t.Errorf("got %d messages, want two for each message", len(answers))
	}
	for i, a := range answers {
		if a.Ends != (i%2 == 1) {
			t.Errorf("got %v for message %d, want that the second of two ends the wake", a.Ends, i)
		}
	}
	posts := bad.Posts()
	again := 0
	for key, sent := range posts {
		again += len(sent) - 1
		for _, b := range sent {
			if b != sent[0] {
				t.Errorf("got another body again with the key %q", key)
			}
		}
	}
	if again < messages || len(posts) != 2*messages {
		t.Errorf("got %d posts, %d of them sent again; want %d, and too few again tell nothing",
			len(posts), again, 2*messages)
	}
}
