package db

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A pooler in transaction mode, such as PgBouncer, may run each transaction of a connection in another server
// process. So a transaction must leave nothing in the session: settings and locks belong to the transaction,
// statements are not prepared by name, and LISTEN uses a connection of its own. (log_key leaves a value in
// the session, which is true of the server process.)

// reach parses a URL and connects, to find out how to talk to the server. The caller must close first. All
// other connections need config.
func reach(ctx context.Context, url string) (first *pgx.Conn, config *pgx.ConnConfig, err error) {
	pool, err := parse(url)
	if err != nil {
		return nil, nil, err
	}
	config = pool.ConnConfig
	first, err = pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, nil, fmt.Errorf("reach the database: %w", sentinel(err))
	}
	if _, err := learn(ctx, first, url, config); err != nil {
		hangUp(ctx, first)
		return nil, nil, err
	}
	return first, config, nil
}

// learn finds out on a connection how to talk to the server, and changes config for the other connections.
// Behind a pooler, pgx must describe each statement once and have it parsed each time. A
// default_query_exec_mode in the URL wins, because some poolers support prepared statements.
func learn(
	ctx context.Context, first *pgx.Conn, url string, config *pgx.ConnConfig,
) (behind bool, err error) {
	mode := &config.DefaultQueryExecMode
	if *mode == pgx.QueryExecModeExec || *mode == pgx.QueryExecModeSimpleProtocol {
		return false, errors.New("the database URL: default_query_exec_mode: exec and simple_protocol " +
			"do not know the types that Postgres wants; remove the setting, even behind a pooler")
	}
	if encoding := first.PgConn().ParameterStatus("server_encoding"); encoding != "UTF8" {
		return false, fmt.Errorf("this database has the encoding %s, which cannot hold every text: create "+
			"another one with ENCODING 'UTF8' TEMPLATE template0; the page run (Install) says how", encoding)
	}
	behind, err = pooled(ctx, first)
	if err != nil {
		return false, fmt.Errorf("reach the database: %w", sentinel(err))
	}
	if behind && !strings.Contains(url, "default_query_exec_mode") {
		*mode = pgx.QueryExecModeCacheDescribe
	}
	return behind, settle(ctx, first, config, behind, !named(url, "search_path", "options"))
}

// learnInPool is learn on the first connection of a pool. The pool keeps this connection: it gets what config
// gives the others. So a start needs no connection that only looks.
func learnInPool(
	ctx context.Context, pool *pgxpool.Pool, url string, config *pgx.ConnConfig,
) (behind bool, err error) {
	first, err := pool.Acquire(ctx)
	if err != nil {
		return false, fmt.Errorf("reach the database: %w", sentinel(err))
	}
	defer first.Release()
	behind, err = learn(ctx, first.Conn(), url, config)
	if err != nil {
		return false, err
	}
	if behind { // it prepares statements, which does not work there
		hangUp(ctx, first.Conn())
		return true, nil
	}
	maps.Copy(config.RuntimeParams, settings)
	const set = `SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS s (name, value)`
	names := append(slices.Collect(maps.Keys(settings)), settled...)
	var values []string
	for _, name := range names {
		values = append(values, config.RuntimeParams[name])
	}
	ctx, cancel := context.WithTimeout(ctx, mutationTimeout)
	defer cancel()
	if _, err := first.Exec(ctx, set, pgx.QueryExecModeSimpleProtocol, names, values); err != nil {
		return false, fmt.Errorf("reach the database: %w", sentinel(err))
	}
	return false, nil
}

// named reports whether a URL sets one of the parameters.
func named(url string, parameters ...string) bool {
	return slices.ContainsFunc(parameters, func(p string) bool { return strings.Contains(url, p+"=") })
}

// settled are the settings that settle makes.
var settled = []string{"default_transaction_isolation", "search_path"}

// settle makes all connections begin with the settings that the event log needs: the isolation level, and the
// schemas of this first connection. So a later change of the defaults of the role or the database has no
// effect. A pooler does not pass these settings on. Behind a pooler the defaults must be right, and settle
// checks the isolation level.
//
// inherited says that the URL names no schema. If then the schema has no guild but another schema has one,
// settle returns an error: the server would start a second guild, which is empty.
func settle(ctx context.Context, conn *pgx.Conn, config *pgx.ConnConfig, behind, inherited bool) error {
	const query = `
		SELECT current_setting('default_transaction_isolation'), current_setting('search_path'),
			coalesce(current_schema(), ''),
			to_regclass('goose_db_version') IS NOT NULL,
			coalesce((SELECT min(n.nspname::text) FROM pg_class c
				JOIN pg_namespace n ON n.oid = c.relnamespace
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
		return fmt.Errorf("the guild of this database is in the schema %q, "+
			"but the search_path of its role leads to %q: add search_path=%s to the database URL, or, for "+
			"another guild, search_path=%[2]s", other, schema, other)
	}
	if !behind {
		config.RuntimeParams["default_transaction_isolation"] = "read committed"
		config.RuntimeParams["search_path"] = path
		return nil
	}
	if isolation != "read committed" {
		return fmt.Errorf("connections have default_transaction_isolation = %q, "+
			"and a pooler prevents the server from changing it: ALTER ROLE ... RESET "+
			"default_transaction_isolation, and the same for the database", isolation)
	}
	return nil
}

// pooled reports whether a connection leads to a pooler. Postgres tells each client the id of its server
// process (BackendKeyData). A pooler invents that id, because any process may serve its client.
func pooled(ctx context.Context, conn *pgx.Conn) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, mutationTimeout)
	defer cancel()
	var pid uint32
	err := conn.QueryRow(ctx, `SELECT pg_backend_pid()`, pgx.QueryExecModeSimpleProtocol).Scan(&pid)
	return pid != conn.PgConn().PID(), err
}

// errPooled says that the doorbell's URL leads to a pooler.
var errPooled = errors.New("this URL leads to a connection pooler, and LISTEN does not work through " +
	"a pooler; " +
	"-doorbell-url must lead to Postgres itself")

// errDeaf says that the doorbell never hears the database's notifications.
var errDeaf = errors.New("LISTEN does not hear what NOTIFY sends; " +
	"-doorbell-url must lead to the Postgres and the database of -database-url")

// errDeafened says that the doorbell heard notifications before and hears none now, although the connection
// is open.
var errDeafened = errors.New("LISTEN no longer hears what NOTIFY sends, although its connection is open: " +
	"does a firewall or proxy between this server and Postgres drop idle connections?")

// testBell asks who is there, the way that this server's rings reach the others, and waits until conn, which
// listens, hears the question. A LISTEN that succeeds may never hear anything.
func (d *DB) testBell(ctx context.Context, conn *pgx.Conn) error {
	timed, cancel := context.WithTimeout(ctx, notifyTimeout)
	defer cancel()
	if err := d.notifyByPool(timed, []string{d.node + question}); err != nil {
		return err
	}
	for {
		n, err := conn.WaitForNotification(timed)
		switch {
		case err == nil && n.Payload == d.node+question:
			return nil
		case err != nil && ctx.Err() == nil && timed.Err() != nil:
			return errDeaf
		case err != nil:
			return err
		}
	}
}
