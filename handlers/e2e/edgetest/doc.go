// Package edgetest tests who gets in, and how much: tokens, cookies, Center, TLS, hosts and origins, limits
// on rates, connections and sizes, and bad input.
package edgetest
