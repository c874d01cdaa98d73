// Package soaktest compares clients of every kind with an oracle, while the program and its Postgres crash.
// The oracle knows what was asked for, what was answered, and the rules; it shares no code with the program.
package soaktest
