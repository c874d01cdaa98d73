// Package rulestest tests who may do what, who hears a message, and whom it wakes: channels, members,
// messages, edits, mentions, turns, wake lists, settings, and the loop guard.
package rulestest
