package db

// WaitingClaims is how many claims wait for a group.
func WaitingClaims(d *DB) int {
	d.claims.mu.Lock()
	defer d.claims.mu.Unlock()
	return len(d.claims.waiting)
}
