package command

import (
	"os"
	"os/signal"
	"syscall"

	"fabric-guild/events/tail"
)

// RunAsInit runs the program as a child of this process. This process must be PID 1, as in a container.
// RunAsInit blocks until the program ends, passes signals on to the program, and returns its exit code. ok is
// false if the child could not be started; then the caller must run the program itself.
//
// The reason: PID 1 becomes the parent of each process that has lost its own parent. Such a process stays a
// zombie after its end until PID 1 waits for it. The program cannot wait for all children itself: it would
// take exit statuses away from the code that started a child and waits for that child.
func RunAsInit() (code int, ok bool) {
	path, err := os.Executable()
	if err != nil {
		return 0, false
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	attr := &syscall.SysProcAttr{Setpgid: true} // otherwise Ctrl-C would reach the program twice
	if tail.IsTerminal(os.Stdin) {
		attr.Foreground, attr.Ctty = true, 0
	}
	program, err := os.StartProcess(path, os.Args, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: attr,
	})
	if err != nil && attr.Foreground { // stdin may be /dev/null, which tail.IsTerminal takes for a terminal
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
		case syscall.SIGURG, syscall.SIGPIPE, syscall.SIGTTIN, syscall.SIGTTOU: // not for the program
		default:
			_ = program.Signal(s) // the program may have ended
		}
	}
	return 0, true // unreachable: nothing closes the channel signals
}

// reap waits for all children that have ended: one SIGCHLD may stand for several of them. It does not block.
// ended reports whether the child with the id program is among them; code is its exit code.
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
			code, ended = 128+int(status.Signal()), true // as a shell does
		}
	}
}
