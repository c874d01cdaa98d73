// Package soaktest compares clients of every kind, and agents that claim their work, with an oracle, while
// the program and its Postgres crash. The oracle knows all requests, all answers, and the rules. It shares no
// code with the program.
package soaktest
