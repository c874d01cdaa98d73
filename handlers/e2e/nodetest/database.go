package nodetest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"fabric-guild/db"
	"fabric-guild/events/ssetest"
)

// HeldBack calls do while the transaction of an earlier event is open. So readers see what do has changed
// only after HeldBack, all at once.
func (n *Node) HeldBack(t *testing.T, do func()) {
	t.Helper()
	id := n.User("holder").General(t, "held").Channel.ID
	undo := errors.New("undo")
	err := n.DB.InTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		if _, err := tx.UpdateChannel(ctx, uuid.MustParse(id), "holder",
			db.ChannelUpdate{Name: new("never")}); err != nil {
			return err
		}
		do()
		return undo
	})
	if !errors.Is(err, undo) {
		t.Fatal(err)
	}
}

// Together waits until the nodes know of each other.
func (n *Node) Together(t *testing.T, others ...*Node) {
	t.Helper()
	for _, o := range append(others, n) {
		if !ssetest.Await(o.DB.HasOthers) || !ssetest.Await(o.DB.Hears) {
			t.Fatal("the servers do not hear each other")
		}
	}
}

// Stored counts the rows of four tables. A test compares two counts to show that nothing was stored.
func (n *Node) Stored(t *testing.T) (rows [4]int) {
	t.Helper()
	n.ask(t, func(conn *pgx.Conn) error {
		return conn.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM events),
			(SELECT count(*) FROM channels), (SELECT count(*) FROM members), (SELECT count(*) FROM messages)`,
		).Scan(&rows[0], &rows[1], &rows[2], &rows[3])
	})
	return rows
}

// Settle waits until the node has read the event log up to its present end.
func (n *Node) Settle(t *testing.T) {
	t.Helper()
	head, err := n.DB.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !ssetest.Await(func() bool { return n.Router.Position().Seq >= head.Seq }) {
		t.Fatalf("got position %v, want %v at least", n.Router.Position(), head)
	}
}

// sql is a node's connection for statements of tests.
type sql struct {
	mu   sync.Mutex
	conn *pgx.Conn // nil until the first statement
}

// ask calls use with the connection for statements of tests. Calls wait for each other. A connection that has
// broken is replaced.
func (n *Node) ask(t *testing.T, use func(conn *pgx.Conn) error) {
	t.Helper()
	n.sql.mu.Lock()
	defer n.sql.mu.Unlock()
	if n.sql.conn == nil || n.sql.conn.Ping(t.Context()) != nil {
		config, err := pgxpool.ParseConfig(n.Database) // which may have settings of a pool
		if err != nil {
			t.Fatal(err)
		}
		conn, err := pgx.ConnectConfig(t.Context(), config.ConnConfig)
		if err != nil {
			t.Fatal(err)
		}
		n.T.Cleanup(func() { _ = conn.Close(context.Background()) })
		n.sql.conn = conn
	}
	if err := use(n.sql.conn); err != nil {
		t.Fatal(err)
	}
}

// Exec runs a statement on the node's database.
func (n *Node) Exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	n.ask(t, func(conn *pgx.Conn) error {
		_, err := conn.Exec(t.Context(), statement, args...)
		return err
	})
}

// Count returns the number that a query selects.
func (n *Node) Count(t *testing.T, query string, args ...any) (got int) {
	t.Helper()
	n.ask(t, func(conn *pgx.Conn) error {
		return conn.QueryRow(t.Context(), query, args...).Scan(&got)
	})
	return got
}

// Blocked returns how many statements wait for a lock.
func (n *Node) Blocked(t *testing.T) int {
	t.Helper()
	return n.Count(t, `SELECT count(*) FROM pg_stat_activity
		WHERE wait_event_type = 'Lock' AND datname = current_database()`)
}

// Agents makes users agents.
func (n *Node) Agents(t *testing.T, users ...string) {
	t.Helper()
	n.Exec(t, `INSERT INTO users (id, kind) SELECT unnest($1::text[]), 'agent'
		ON CONFLICT (id) DO UPDATE SET kind = 'agent'`, users)
}
