package db

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A pooler in transaction mode, such as PgBouncer, may give each transaction of a connection to another
// server process. So nothing may be left in the session from one transaction to the next: settings and locks
// are the transaction's, statements are not prepared by name, and LISTEN goes by a way of its own. (What log_key
// leaves there is true of the process.)

// reach reads a URL as parse does, and finds out how to talk to whoever answers there: behind a pooler
// statements are described once and parsed each time. What the URL itself says (default_query_exec_mode) wins:
// there are poolers that know prepared statements.
func reach(ctx context.Context, url string) (*pgxpool.Config, error) {
	config, err := parse(url)
	if err != nil {
		return nil, err
	}
	mode := &config.ConnConfig.DefaultQueryExecMode
	if *mode == pgx.QueryExecModeExec || *mode == pgx.QueryExecModeSimpleProtocol {
		return nil, errors.New("the database URL: default_query_exec_mode: exec and simple_protocol do not know the types that Postgres wants; leave it out, also behind a pooler")
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return nil, fmt.Errorf("reach the database: %w", sentinel(err))
	}
	defer hangUp(ctx, conn)
	behind, err := pooled(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("reach the database: %w", sentinel(err))
	}
	if behind && !strings.Contains(url, "default_query_exec_mode") {
		*mode = pgx.QueryExecModeCacheDescribe
	}
	if err := settle(ctx, conn, config.ConnConfig, behind, !named(url, "search_path", "options")); err != nil {
		return nil, err
	}
	return config, nil
}

// named reports whether a URL sets one of some parameters.
func named(url string, parameters ...string) bool {
	return slices.ContainsFunc(parameters, func(p string) bool { return strings.Contains(url, p+"=") })
}

// settle has all connections begin with what the log needs, whatever the defaults of the role and the
// database are or become: the isolation, and the schemas of this first connection. A pooler does not let
// that through, so there the defaults must do. inherited says that the URL names no schema. Then one
// without a guild, next to one with a guild, is refused: it would be a second guild, which is empty.
func settle(ctx context.Context, conn *pgx.Conn, config *pgx.ConnConfig, behind, inherited bool) error {
	const query = `
		SELECT current_setting('default_transaction_isolation'), current_setting('search_path'), coalesce(current_schema(), ''),
			to_regclass('goose_db_version') IS NOT NULL,
			coalesce((SELECT min(n.nspname::text) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
				WHERE c.relname = 'goose_db_version' AND EXISTS (
					SELECT FROM pg_class e WHERE e.relnamespace = n.oid AND e.relname = 'epochs')), '')`
	ctx, cancel := context.WithTimeout(ctx, mutationTimeout)
	defer cancel()
	var isolation, path, schema, other string
	var here bool
	row := conn.QueryRow(ctx, query, pgx.QueryExecModeSimpleProtocol)
	if err := row.Scan(&isolation, &path, &schema, &here, &other); err != nil {
		return fmt.Errorf("reach the database: %w", sentinel(err))
	}
	if inherited && !here && other != "" {
		return fmt.Errorf("the guild of this database is in the schema %q, but the search_path of its role leads to %q: "+
			"add search_path=%s to the database URL, or, for another guild, search_path=%[2]s", other, schema, other)
	}
	if !behind {
		config.RuntimeParams["default_transaction_isolation"] = "read committed"
		config.RuntimeParams["search_path"] = path
		return nil
	}
	if isolation != "read committed" {
		return fmt.Errorf("connections come with default_transaction_isolation = %q, and a pooler keeps the server from changing it: "+
			"ALTER ROLE ... RESET default_transaction_isolation, and the same for the database", isolation)
	}
	return nil
}

// pooled reports whether a connection leads to a pooler: Postgres tells each client which of its processes it
// talks to (BackendKeyData), and a pooler, whose client may be served by any, makes that up.
func pooled(ctx context.Context, conn *pgx.Conn) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, mutationTimeout)
	defer cancel()
	var pid uint32
	err := conn.QueryRow(ctx, `SELECT pg_backend_pid()`, pgx.QueryExecModeSimpleProtocol).Scan(&pid)
	return pid != conn.PgConn().PID(), err
}

// errPooled is what a doorbell comes to that is hung on a pooler.
var errPooled = errors.New("this URL leads to a connection pooler, which LISTEN does not get through; -doorbell-url is to lead to Postgres itself")

// errDeaf is what a doorbell comes to that hears nothing of the database.
var errDeaf = errors.New("LISTEN hears nothing of what NOTIFY sends; -doorbell-url is to lead to the Postgres and the database of -database-url")

// errDeafened is what a doorbell comes to that was heard and is no longer, although the connection stands.
var errDeafened = errors.New("LISTEN hears nothing any more of what NOTIFY sends, and its connection stands: is there something between this server and Postgres that forgets connections?")

// testBell rings for this node by the way that its rings take to the others, and waits until conn, which
// listens, hears it. A LISTEN that succeeds may be one that never hears.
func (d *DB) testBell(ctx context.Context, conn *pgx.Conn) error {
	timed, cancel := context.WithTimeout(ctx, notifyTimeout)
	defer cancel()
	if _, err := d.conn.Exec(timed, notify, d.node); err != nil {
		return err
	}
	for {
		n, err := conn.WaitForNotification(timed)
		switch {
		case err == nil && n.Payload == d.node:
			return nil
		case err != nil && ctx.Err() == nil && timed.Err() != nil:
			return errDeaf
		case err != nil:
			return err
		}
	}
}
