// Package streamtest tests what a client reads: streams in all their forms, resume, snapshots, polls,
// activity, unread messages and search. Every reader must see the same events, whatever happens to its
// connection.
package streamtest
