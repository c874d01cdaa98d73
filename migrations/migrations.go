// Package migrations embeds the goose migrations of the schema. They only go forward. schema.sql shows the
// schema that they make. It is generated, and no program reads it.
package migrations

import "embed"

// FS holds the migrations. They run in the order of their names.
//
//go:embed 0*.sql
var FS embed.FS
