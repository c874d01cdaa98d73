package remote

import (
	"os"
	"os/signal"
	"syscall"
)

// EndSignals returns the signals that ask a command to end. SIGHUP is not among them if the program ignores
// it: under nohup it must outlive its terminal. A terminal that closes often sends SIGHUP twice, from the
// shell and from the kernel. So whoever waits for a second signal must wait for SIGHUP too.
func EndSignals() []os.Signal {
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		ends = append(ends, syscall.SIGHUP)
	}
	return ends
}
