package guildtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
)

// Post sends a message to the server at base and records the result. Any goroutine may call it.
func (l *Load) Post(base, channel, content string) (status int, err error) {
	status, _, err = l.post(base, channel, content)
	return status, err
}

func (l *Load) post(base, channel, content string) (status int, cursor string, err error) {
	var answer struct{ Cursor string }
	content = secret(content)
	url := base + "/api/channels/" + channel + "/messages"
	status, err = Call(l.t.Context(), http.MethodPost, url, l.alice, map[string]any{"content": content},
		&answer)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.counts.Failed++
	case unavailable(status):
		l.counts.Refused++
	case status == http.StatusCreated:
		l.counts.Acknowledged++
		l.posted[answer.Cursor] = content
	default:
		l.wrong = status
	}
	return status, answer.Cursor, err
}

// PostSlowly begins a post without its body, and blocks until the server waits for the body. finish sends the
// body and wants that the server stores the message.
func (l *Load) PostSlowly(n *Node, channel, content string) (finish func()) {
	l.t.Helper()
	conn, err := net.Dial("tcp", n.Addr())
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(Patience))
	content = secret(content)
	body := fmt.Sprintf(`{"content":%q}`, content)
	_, _ = fmt.Fprintf(conn, "POST /api/channels/%s/messages HTTP/1.1\r\nHost: localhost\r\n"+
		"Authorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"+
		"Expect: 100-continue\r\n\r\n", channel, l.alice, len(body))
	answers := bufio.NewReader(conn)
	// The server sends 100 when the handler reads the body.
	if r, err := http.ReadResponse(answers, nil); err != nil || r.StatusCode != http.StatusContinue {
		l.t.Fatalf("got %v and %v, want 100", r, err)
	}
	return func() {
		l.t.Helper()
		_, _ = io.WriteString(conn, body)
		var answer struct{ Cursor string }
		r, err := http.ReadResponse(answers, nil)
		if err == nil {
			err = json.NewDecoder(r.Body).Decode(&answer)
		}
		if err != nil || r.StatusCode != http.StatusCreated {
			l.t.Fatalf("got %v and %v, want 201 for the running request", r, err)
		}
		l.note(answer.Cursor, content)
	}
}

// HoldOpen stores a message in a transaction that the test opens itself, without the server. The transaction
// stays open until commit.
func (l *Load) HoldOpen(url, content string) (commit func()) {
	l.t.Helper()
	ctx := l.t.Context()
	const post = `
		WITH e AS (
			INSERT INTO events (kind, channel_id, user_id, message_id)
			VALUES ('message.created', $1, 'alice', gen_random_uuid())
			RETURNING seq, occurred_at, message_id
		)
		INSERT INTO messages (id, channel_id, seq, author_user_id, content, mention_user_ids, created_at)
		SELECT message_id, $1, seq, 'alice', $2, '{}', occurred_at FROM e
		RETURNING (SELECT max(epoch) FROM epochs) || '.' || seq`
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	tx, err := conn.Begin(ctx)
	if err != nil {
		l.t.Fatal(err)
	}
	var cursor string
	content = secret(content)
	if err := tx.QueryRow(ctx, post, l.Channels[0], content).Scan(&cursor); err != nil {
		l.t.Fatal(err)
	}
	return func() {
		l.t.Helper()
		if err := tx.Commit(ctx); err != nil {
			l.t.Fatal(err)
		}
		l.note(cursor, content)
	}
}

// note records that a post was acknowledged.
func (l *Load) note(cursor, content string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.posted[cursor] = content
}

// secret returns content with Sesame, which must not be in a log.
func secret(content string) string { return Sesame + " " + content }
