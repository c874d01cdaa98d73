package guildtest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fabric-guild/db/dbtest"
)

// A Workplace is a server with a user, alice, who writes to an agent, bob. Bob has a queue. Only the test's
// goroutine may use it.
type Workplace struct {
	*Node
	Alice, Bob string // tokens
	Channel    string // id of the channel of both, in which each of alice's messages wakes bob

	t        testing.TB
	program  Program
	database string
}

// NewWorkplace starts a server.
func NewWorkplace(t testing.TB, p Program) *Workplace {
	t.Helper()
	w := &Workplace{t: t, program: p, database: dbtest.New(t)}
	w.Node = p.Start(t, StateDir(t), "-database-url", w.database)
	tokens := w.Tokens("alice", "bob")
	w.Alice, w.Bob = tokens[0], tokens[1]
	w.Channel = w.NewChannel("ops")
	w.Do(http.MethodPost, "/api/wakes/claim", w.Bob, map[string]any{}, nil, http.StatusOK)
	return w
}

// NewChannel makes a channel of both users and returns its id.
func (w *Workplace) NewChannel(name string) (id string) {
	w.t.Helper()
	var made struct{ Channel struct{ ID string } }
	w.Do(http.MethodPost, "/api/channels", w.Alice, map[string]any{
		"guildId": "g1", "name": name, "xType": "general", "memberUserIds": []string{"bob"},
	}, &made, http.StatusCreated)
	return made.Channel.ID
}

// Do makes a request, and ends the test unless the status is want.
func (w *Workplace) Do(method, path, token string, body, answer any, want int) {
	w.t.Helper()
	status, err := Call(w.t.Context(), method, w.Base()+path, token, body, answer)
	if err != nil || status != want {
		w.t.Fatalf("got %d and %v for %s %s, want %d", status, err, method, path, want)
	}
}

// Says posts a message of alice in a channel, and returns its id.
func (w *Workplace) Says(channel, content string) (id string) {
	w.t.Helper()
	var posted struct{ Message struct{ ID string } }
	w.Do(http.MethodPost, "/api/channels/"+channel+"/messages", w.Alice, map[string]any{"content": content},
		&posted, http.StatusCreated)
	return posted.Message.ID
}

// KillServer kills the server, and starts it again with the same address and database.
func (w *Workplace) KillServer() {
	w.t.Helper()
	w.Kill()
	secrets := w.secrets
	w.Node = w.program.Start(w.t, w.state, "-addr", w.Addr(), "-database-url", w.database)
	w.secrets = append(w.secrets, secrets...)
}

// An Answer is a message of bob, as the database has it.
type Answer struct {
	Content, ReplyTo string
	Ends             bool // it ended a wake
}

// Answers returns bob's messages in a channel, oldest first.
func (w *Workplace) Answers(channel string) []Answer {
	w.t.Helper()
	return query[Answer](w, `SELECT content, coalesce(reply_to::text, '') AS reply_to, wake_id IS NOT NULL AS
		ends
		FROM messages WHERE author_user_id = 'bob' AND channel_id = $1 ORDER BY seq`, channel)
}

// AwaitAnswers blocks until bob has written n messages that end a wake in a channel, and returns his
// messages.
func (w *Workplace) AwaitAnswers(channel string, n int) (answers []Answer) {
	w.t.Helper()
	Eventually(w.t, fmt.Sprintf("%d answers", n), Patience, func() bool {
		answers = w.Answers(channel)
		return len(slices.DeleteFunc(slices.Clone(answers), func(a Answer) bool { return !a.Ends })) >= n
	})
	return answers
}

// Unanswered returns how many of alice's messages are not answered yet. The test fails if one was answered
// twice.
func (w *Workplace) Unanswered() (left int) {
	w.t.Helper()
	type message struct {
		Content string
		Answers int
	}
	for _, m := range query[message](w, `SELECT m.content, count(r.id)::int AS answers FROM messages m
		LEFT JOIN messages r ON r.channel_id = m.channel_id AND m.seq BETWEEN r.wake_first AND r.wake_upto
		WHERE m.author_user_id = 'alice' GROUP BY m.id`) {
		if m.Answers > 1 {
			w.t.Errorf("got %d answers for %q, want 1", m.Answers, m.Content)
		}
		if m.Answers == 0 {
			left++
		}
	}
	return left
}

// AwaitEachAnsweredOnce blocks until each of alice's messages is answered. The test fails if one was answered
// twice, or if bob wrote something that ends no wake.
func (w *Workplace) AwaitEachAnsweredOnce() {
	w.t.Helper()
	Eventually(w.t, "each message is answered", Patience,
		func() bool { return w.Unanswered() == 0 || w.t.Failed() })
	for _, a := range w.Answers(w.Channel) {
		if !a.Ends {
			w.t.Errorf("got %q, which ends no wake", a.Content)
		}
	}
}

// query returns the rows of a query.
func query[T any](w *Workplace, sql string, args ...any) []T {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, w.database)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByNameLax[T])
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}
