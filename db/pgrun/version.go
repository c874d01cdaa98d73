package pgrun

import (
	"context"
	"fmt"
)

// Version names the Postgres that Start would make a new cluster with: its directory and its major version. It
// never fetches one.
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
