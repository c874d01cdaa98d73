// Package transport writes the frames of a live.Session to a connection. ServeRaw takes an HTTP/1 connection
// over; R3labs serves connections that cannot be taken over, which means HTTP/2.
package transport
