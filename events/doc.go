// Package events holds the vocabulary and the pure rules of the event log: names, cursors, events, intervals
// of membership, who hears what, and how an event is encoded for a stream.
//
// The package has no lock, no clock and no goroutine, and it does no I/O. The same input always gives the
// same answer. These packages build on it:
//
//	events/live       reads the event log and feeds the streams: Tailer, Router, Session
//	events/transport  writes the frames of a session to a connection
//	events/follow     is the client of a stream
//	events/tail       is the command that prints what follow gets
package events
