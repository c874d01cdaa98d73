// Package consoletest tests the console in a real Chromium, on a real server, and through a proxy that cuts
// and delays.
package consoletest
