// Package edge decides who gets in, and how much: hosts and origins, trusted proxies and addresses, TLS, the
// listener and its connections, and the limits on streams, rates and concurrent requests. It does not know
// users' rights or routes.
package edge
