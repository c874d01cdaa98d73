package db

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestAdvice(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		code string
		want []string
	}{
		{"53100", []string{"its disk is full"}},
		{"53300", []string{"max_connections", "CONNECTION LIMIT", "pool_max_conns"}},
		{"28P01", []string{"check the database URL", "pg_hba.conf"}},
		{"3D000", []string{"check the database URL"}},
		{"57P03", []string{"stopping or starting"}},
		{"55P03", []string{"pg_locks"}},
		// A standby and a primary that is read-only by default give the same error.
		{"25006", []string{"default_transaction_read_only is on", "pg_is_in_recovery()", "primary"}},
		{"55000", []string{"this is a standby"}},
		{"42501", []string{"make it the owner"}},
		{"58030", []string{"its own log says more"}},
		{"", []string{"the connection was lost"}},
	} {
		got := advice(&pgconn.PgError{Code: tt.code})
		for _, part := range tt.want {
			if !strings.Contains(got, part) {
				t.Errorf("%s: got %q, want it to contain %q", tt.code, got, part)
			}
		}
		if tt.code == "25006" && strings.HasPrefix(got, "this is a standby") {
			t.Errorf("%s: got %q, which may be wrong", tt.code, got)
		}
	}
}
