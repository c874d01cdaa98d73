// Package wakestest tests the wake queue over HTTP: claims, replies, leases, and the list of wakes.
package wakestest
