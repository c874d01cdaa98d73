package db

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// planned runs each query outside of a transaction with the settings of plannedOnce, in the same round trip.
// Statements of a transaction get them from the transaction's first batch.
type planned struct{ conn }

func (p planned) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	var b pgx.Batch
	b.Queue(plannedOnce)
	b.Queue(sql, args...)
	results := p.SendBatch(ctx, &b)
	_, err := results.Exec()
	if err != nil {
		_ = results.Close() // reports the same error
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		_ = results.Close()
		return nil, err
	}
	return &plannedRows{rows, results}, nil
}

func (p planned) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, err := p.Query(ctx, sql, args...)
	return plannedRow{rows, err}
}

// plannedRows releases its connection in Close, which pgx.CollectRows and plannedRow.Scan always call.
type plannedRows struct {
	pgx.Rows
	results pgx.BatchResults
}

func (r *plannedRows) Close() {
	r.Rows.Close()
	_ = r.results.Close() // Err has the error
}

type plannedRow struct {
	rows pgx.Rows
	err  error
}

func (r plannedRow) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}
