package nodetest

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

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
	for i, table := range []string{"events", "channels", "members", "messages"} {
		rows[i] = n.Count(t, "SELECT count(*) FROM "+table)
	}
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

// Exec runs a statement on the node's database, over a connection of its own.
func (n *Node) Exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), n.Database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

// Count returns the number that a query selects.
func (n *Node) Count(t *testing.T, query string, args ...any) (got int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), n.Database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if err := conn.QueryRow(t.Context(), query, args...).Scan(&got); err != nil {
		t.Fatal(err)
	}
	return got
}

// Agents makes users agents.
func (n *Node) Agents(t *testing.T, users ...string) {
	t.Helper()
	for _, user := range users {
		n.Exec(t,
			`INSERT INTO users (id, kind) VALUES ($1, 'agent') ON CONFLICT (id) DO UPDATE SET kind = 'agent'`,
			user)
	}
}
