// Package migrations embeds the schema's goose migrations. They only go forward.
package migrations

import "embed"

// FS holds the SQL files, by name in the order in which they run.
//
//go:embed *.sql
var FS embed.FS
