package db

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/puddle/v2"
)

// Errors that callers distinguish. Every other error of a method is a bug.
var (
	// ErrNotFound says that there is no such row.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable says that Postgres cannot be reached, is starting, or lacks a resource. If a commit was
	// in progress, its result is unknown.
	ErrUnavailable = errors.New("the database is unavailable")
)

// errNoEpoch is the SQLSTATE of draw_seq in a life of the database that has no epoch yet.
const errNoEpoch = "FG001"

// errIncomplete is the SQLSTATE of log_begin while a restore is running. Its message says what to do.
const errIncomplete = "FG002"

func code(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

// sentinel turns errors of the driver into the errors that callers distinguish.
func sentinel(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrUnavailable), errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, pgx.ErrNoRows):
		return ErrNotFound
	case unavailable(err):
		return lacking(err)
	}
	return err
}

// unavailable reports whether an error of the driver means ErrUnavailable. It decides by SQLSTATE (Postgres,
// Appendix A), mostly by class:
//
// - 08: connection
// - 40 and 55P03: a lock was not available
// - 53: resources
// - 57: operator intervention and shutdown
// - 58: system error
// - 25006: the database is read-only
// - 55000: a standby
// - 0A000: a plan that a migration made stale
// - 42501: the database, or what is in it, belongs to another role
// - 42P01, 42704 and 42883: tables, constraints and functions that a restore has not created yet
// - FG002: rows that a restore has not loaded yet
// - XX000: a table that a restore is dropping now
// - 2200H: the sequence is at its end
//
// An error without a code comes from the connection.
func unavailable(err error) bool {
	if _, connect := errors.AsType[*pgconn.ConnectError](err); connect {
		return true
	}
	c := code(err)
	if c == "" {
		return pgconn.Timeout(err) || errors.Is(err, context.DeadlineExceeded) || broken(err)
	}
	switch c[:2] {
	case "08", "40", "53", "57", "58":
		return true
	}
	return slices.Contains([]string{
		"0A000", "2200H", "25006", "25P03", "42501", "42704", "42883", "42P01", "55000", "55P03", "XX000",
		errIncomplete,
	}, c)
}

// broken reports whether err means that the connection ended or the pool is closed.
func broken(err error) bool {
	if _, op := errors.AsType[*net.OpError](err); op {
		return true
	}
	ends := []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, pgconn.ErrConnClosed, puddle.ErrClosedPool}
	return slices.ContainsFunc(ends, func(e error) bool { return errors.Is(err, e) })
}

// badData reports whether Postgres refused data. Then the transaction has changed nothing.
func badData(err error) bool {
	c := code(err)
	return strings.HasPrefix(c, "22") || strings.HasPrefix(c, "23")
}
