package db

import (
	"context"
	"encoding/binary"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// A line is the connection on which a server listens. It sends the server's notifications too: Postgres hands
// a session its own notifications without waking another process, and a NOTIFY that is not part of a query
// needs no plan. One goroutine receives. Any goroutine may send meanwhile.
type line struct {
	conn *pgx.Conn
	raw  net.Conn

	sent, heard atomic.Int64  // sends, and how many of them came back
	echo        chan struct{} // receives when a send has come back
}

const (
	doorbellChannel = "fabric_guild"
	// A NOTIFY takes a transaction number, so its commit would wait for the disk for nothing.
	listen = `LISTEN fabric_guild; SET synchronous_commit = off`
)

// newLine makes a connection listen. The connection must lead to Postgres itself.
func newLine(ctx context.Context, conn *pgx.Conn) (*line, error) {
	_, err := conn.Exec(ctx, listen, pgx.QueryExecModeSimpleProtocol)
	return &line{conn: conn, raw: conn.PgConn().Conn(), echo: make(chan struct{}, 1)}, err
}

// receive blocks until a notification arrives, and returns its payload. It skips the answers to send.
func (l *line) receive() (string, error) {
	n, err := l.conn.WaitForNotification(context.Background()) // a context would cost a timer each time
	if err != nil {
		return "", err
	}
	return n.Payload, nil
}

// hangUp makes receive return an error, now or when it is called next.
func (l *line) hangUp() { _ = l.raw.SetReadDeadline(time.Unix(1, 0)) }

// send sends notifications in one transaction. It does not wait for an answer: an error of Postgres is not
// seen. After an error of the connection it hangs up: the connection may hold a part of a message.
func (l *line) send(payloads []string) error {
	l.sent.Add(1)
	_ = l.raw.SetWriteDeadline(time.Now().Add(notifyTimeout))
	_, err := l.raw.Write(query(payloads))
	if err != nil {
		l.hangUp()
	}
	return err
}

// query encodes one message of Postgres' protocol, a simple Query: its kind, its length and the text.
func query(payloads []string) []byte {
	message := []byte("Q\x00\x00\x00\x00")
	for _, payload := range payloads {
		message = append(message, "NOTIFY "+doorbellChannel+", '"...)
		message = append(message, strings.ReplaceAll(payload, "'", "''")...)
		message = append(message, "';"...)
	}
	message = append(message, 0)
	binary.BigEndian.PutUint32(message[1:], uint32(len(message)-1)) //nolint:gosec // far below the maximum
	return message
}

// cameBack notes that something that the server sent has come back.
func (l *line) cameBack() {
	l.heard.Store(l.sent.Load())
	signal(l.echo)
}

// settle blocks until what was sent has come back, at most for d. So a Postgres that is behind gets fewer and
// larger notifications.
func (l *line) settle(ctx context.Context, d time.Duration) {
	if l.heard.Load() == l.sent.Load() {
		return
	}
	late := time.NewTimer(d)
	defer late.Stop()
	for l.heard.Load() != l.sent.Load() {
		select {
		case <-l.echo:
		case <-late.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
