// Package operatetest tests what an operator uses: health, metrics, alerts, the log, the admin, and
// deployment.
package operatetest
