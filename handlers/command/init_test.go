package command

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"fabric-guild/db/dbtest"
	"fabric-guild/handlers/e2e/guildtest"
)

// asPID1 runs the program as the first process of a PID namespace, as a container does.
func asPID1(t *testing.T, dir string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program.Path, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.Stderr = t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
	}
	return cmd
}

// As PID 1 the program inherits what its commands leave behind, and waits for it.
func TestAsPID1(t *testing.T) {
	t.Parallel()
	if err := asPID1(t, "/", nil, "version").Run(); err != nil {
		t.Skip("PID namespaces need root, or user namespaces: ", err)
	}
	err := asPID1(t, "/", nil, "none").Run()
	if wrong, ok := errors.AsType[*exec.ExitError](err); !ok || wrong.ExitCode() != 2 {
		t.Errorf("got %v, want the exit code of the program, 2", err)
	}

	n := program.Start(t, guildtest.StateDir(t), "-database-url", dbtest.New(t))
	dir := t.TempDir()
	// The orphan's number, as its own namespace has it, and where it ends.
	const command = `(sh -c 'echo $$ > orphan.new; mv orphan.new orphan' &)`
	tail := asPID1(t, dir, []string{
		"FABRIC_BACKEND_GUILD_TOKEN=" + n.Token("bob"),
		"FABRIC_BACKEND_GUILD_URL=" + n.Base(),
	},
		"tail", "-cursor-file", "cursor", "-exec", command)
	if err := tail.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tail.Process.Kill() })
	guildtest.Eventually(t, "it follows", guildtest.Patience, func() bool {
		_, err := os.Stat(filepath.Join(dir, "cursor"))
		return err == nil
	})
	channel := map[string]any{
		"guildId": "g1", "name": "ops", "xType": "general",
		"memberUserIds": []string{"bob"},
	}
	status, err := guildtest.Call(t.Context(), http.MethodPost, n.Base()+"/api/channels", n.Token("alice"),
		channel, nil)
	if err != nil || status != http.StatusCreated {
		t.Fatalf("got %d and %v for a channel, want 201", status, err)
	}
	var orphan string
	guildtest.Eventually(t, "the orphan has run", guildtest.Patience, func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "orphan"))
		orphan = string(bytes.TrimSpace(b))
		return err == nil
	})
	guildtest.Eventually(t, "nothing of the orphan is left", guildtest.Patience, func() bool {
		return !alive(t, tail.Process.Pid, orphan)
	})
	if err := tail.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := tail.Wait(); err != nil {
		t.Errorf("got %v, want that SIGTERM is passed on and the end is an orderly one", err)
	}
}

// alive reports whether the process that has this number in the namespace of init is still there, as a zombie
// or not.
func alive(t *testing.T, init int, number string) bool {
	t.Helper()
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", init))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		status, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(status)) {
			numbers := strings.Fields(line)
			if len(numbers) > 2 && numbers[0] == "NSpid:" && numbers[len(numbers)-1] == number &&
				of(filepath.Dir(file), init, namespace) {
				return true
			}
		}
	}
	return false
}

// of reports whether a process is of the namespace, which a zombie does not say: then it is a child of init.
func of(proc string, init int, namespace string) bool {
	if in, err := os.Readlink(proc + "/ns/pid"); err == nil {
		return in == namespace
	}
	status, err := os.ReadFile(proc + "/status")
	return err == nil && strings.Contains(string(status), "\nPPid:\t"+strconv.Itoa(init)+"\n")
}
