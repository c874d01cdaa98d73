// Package command holds parts of the program that are not about HTTP: what it does as PID 1, and its terminal.
package command

import (
	"io"
	"os"
	"os/signal"
	"syscall"
)

// RunAsInit runs the program as a child of this process, which is PID 1, as in a container: whatever ends
// without a parent is given to PID 1, and stays a zombie until that waits for it. The program itself cannot
// do so: it would take the exit status from whoever waits for a child of its own. RunAsInit passes signals
// on, and returns the exit code of the program; ok is false if there is no such child, and nothing has
// happened.
func RunAsInit() (code int, ok bool) {
	path, err := os.Executable()
	if err != nil {
		return 0, false
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	attr := &syscall.SysProcAttr{Setpgid: true} // so that Ctrl-C reaches the program once
	if IsTerminal(os.Stdin) {
		attr.Foreground, attr.Ctty = true, 0
	}
	program, err := os.StartProcess(path, os.Args, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: attr,
	})
	if err != nil && attr.Foreground { // /dev/null looks like a terminal
		attr.Foreground = false
		program, err = os.StartProcess(path, os.Args, &os.ProcAttr{
			Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: attr,
		})
	}
	if err != nil {
		signal.Reset()
		return 0, false
	}
	for s := range signals {
		switch s {
		case syscall.SIGCHLD:
			if code, ended := reap(program.Pid); ended {
				return code, true
			}
		case syscall.SIGURG, syscall.SIGPIPE, syscall.SIGTTIN, syscall.SIGTTOU: // our own
		default:
			_ = program.Signal(s) // it may have ended
		}
	}
	return 0, true // never: nobody closes signals
}

// reap waits for all children that have ended. One signal may stand for several of them.
func reap(program int) (code int, ended bool) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil || pid == 0:
			return code, ended
		case pid == program && status.Exited():
			code, ended = status.ExitStatus(), true
		case pid == program && status.Signaled():
			code, ended = 128+int(status.Signal()), true // as a shell says it
		}
	}
}

// IsTerminal reports whether w is a terminal. /dev/null looks like one.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
