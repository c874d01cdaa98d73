package db

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// lacking wraps ErrUnavailable with advice for the operator and the driver's error.
func lacking(err error) error {
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, advice(err), err)
}

const adviceStandby = "this is a standby: have the database URL lead to the primary"

// advice returns what the operator can do about an error. It decides by SQLSTATE (Postgres, Appendix A), and
// for an error without a code by how the connection failed.
func advice(err error) string {
	switch code(err) {
	case "53100":
		return "its disk is full: make room there"
	case "53200":
		return "it is out of memory: give it more, or lower max_connections or work_mem"
	case "53300":
		return "all of its connections are taken: raise max_connections, or the CONNECTION LIMIT of the " +
			"role or the database, or lower pool_max_conns in the database URLs"
	case "57P01", "57P02", "57P03":
		return "it is stopping or starting; if that lasts, its own log says why"
	case "28000", "28P01", "3D000":
		return "it does not let this user into this database: check the database URL, and pg_hba.conf"
	case "42501":
		return "the user of the database URL may not do this: make it the owner of the database and of all " +
			"that is in it; the page run (Install) says how"
	case "55P03", "57014":
		return "a lock was not had in time: pg_stat_activity and pg_locks show who holds it"
	case errIncomplete:
		return "its tables are not complete"
	case "42704", "42883", "42P01":
		return "tables or functions of the guild are missing there: is it being restored? If not, restart " +
			"the server, which migrates"
	case "2200H":
		return "the sequence events_seq was set to its end: set it to the greatest number in use; the page " +
			"run (Restore) says how"
	case "25006":
		return "it takes no changes: either default_transaction_read_only is on, then switch it off, " +
			"or pg_is_in_recovery() says that this is a standby, then have the database URL lead " +
			"to the primary"
	case "55000":
		return adviceStandby
	case "":
	default:
		return "its own log says more"
	}
	if pgconn.Timeout(err) || errors.Is(err, context.DeadlineExceeded) {
		return "it does not answer in time: is it overloaded or stopped, or the network to it cut?"
	}
	if _, connect := errors.AsType[*pgconn.ConnectError](err); connect {
		return "is it up, and does the database URL lead to it?"
	}
	return "the connection was lost"
}
