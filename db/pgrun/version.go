package pgrun

import (
	"context"
	"fmt"
)

// Version returns the directory and the major version of the Postgres with which Start would make a new
// cluster. It never fetches Postgres, and returns an error if the machine has none.
func Version(ctx context.Context) (string, error) {
	a, err := accountFor("")
	if err != nil {
		return "", err
	}
	b, err := findBinaries(ctx, a, "", 0, usualPlaces())
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %d", b.dir, b.major), nil
}
