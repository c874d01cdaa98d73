package remote

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

// The usual way to renew a token is "fabric-guild token bob >FILE", which first empties the file.
func TestTokenFileWhileItIsWritten(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	var a Account
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	a.Flags(flags)
	if err := flags.Parse([]string{"-token-file", file}); err != nil {
		t.Fatal(err)
	}
	if got, err := a.Token(); err == nil {
		t.Errorf("got %q, want an error: there is no file", got)
	}
	for _, step := range []struct{ written, want string }{
		{"one\n", "one"}, {"", "one"}, {"two\n", "two"}, {"no token\n", "two"}, {"\n", "two"},
	} {
		if err := os.WriteFile(file, []byte(step.written), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := a.Token(); err != nil || got != step.want {
			t.Errorf("got %q and error %v of a file with %q, want %q", got, err, step.written, step.want)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got, err := a.Token(); err != nil || got != "two" {
		t.Errorf("got %q and error %v without the file, want the last token", got, err)
	}
}
