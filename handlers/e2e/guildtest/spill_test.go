package guildtest

import (
	"fmt"
	"strings"
	"testing"
)

// A noter records errors instead of failing the test.
type noter struct {
	testing.TB
	errors []string
}

func (n *noter) Helper() {}
func (n *noter) Errorf(format string, args ...any) {
	n.errors = append(n.errors, fmt.Sprintf(format, args...))
}

// wantNoSecret finds every kind of secret.
func TestSecretsAreFound(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"": 0,
		`level=INFO msg=request request_id=6f2e64c2-9f3c-4b8e-9d3c-0a4c9d5f3b11 path=/api/me status=200`: 0,
		"the words eyJust.a are no secret": 0,
		"time=2026-11-22 error=\"token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.q1w2e3-_ is bad\"": 1,
		"Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.q1w2e3-_":                  1,
		"key=" + strings.Repeat("0123456789abcdef", 4):                                              1,
		"sum=" + strings.Repeat("0123456789abcdef", 2):                                              0,
		"-----BEGIN PRIVATE KEY-----":                                                               1,
		"-----BEGIN EC PRIVATE KEY-----":                                                            1,
		"the message " + Sesame + " 1 of 2":                                                         1,
	} {
		n := &noter{TB: t}
		wantNoSecret(n, "a log", text, Sesame)
		if len(n.errors) != want {
			t.Errorf("%q: got the errors %q, want %d", text, n.errors, want)
		}
	}
}
