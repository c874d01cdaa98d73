// Package live carries the events of the event log to the streams of the users who may hear them.
//
//	event log ──▶ Tailer ──▶ Router ──▶ Session ──▶ Transport
//
// The Tailer reads the event log in order. The Router knows the channels of the connected users, and keeps a
// ring of recent events. A Session is the position of one connection: it catches up from the event log or the
// ring, and then takes events from a bounded queue. A Transport writes whole frames.
//
// The package knows neither routes nor SQL. Package db implements Log; package transport has the transports.
package live
