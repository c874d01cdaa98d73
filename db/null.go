package db

// optional returns nil, which is NULL, for an empty string.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// value returns what p points to, or the zero value if p is nil.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
