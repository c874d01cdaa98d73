package command

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"

	"fabric-guild/handlers"
	"fabric-guild/handlers/config"
)

const aboutRefresh = `fabric-guild admin refresh makes the running server ask Center who the admin is.
Give it those of these flags that the server has: they say where the server is, and where its operator
key is.`

// ofTheServer says what the flags of serve mean to a command that calls the server.
func ofTheServer(f *flag.FlagSet) {
	for name, usage := range map[string]string{
		"state":     "the server's state `directory`, which has the operator key",
		"addr":      "`address` that the server listens on",
		"base-path": "path `prefix` of the server's URLs, such as /chat",
		"tls-cert":  "`file` of the server's certificate, if it serves TLS",
		"tls-key":   "`file` of the certificate's key; not used here",
	} {
		f.Lookup(name).Usage = usage
	}
}

// admin makes the running server refresh its admin, and prints the answer. It is no error if there is no
// admin, or if Center does not answer.
func admin(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	if asksForHelp(args) {
		args = []string{"refresh", "-h"}
	}
	if len(args) == 0 || args[0] != "refresh" {
		return fmt.Errorf("write admin refresh: %w", config.ErrUsage)
	}
	var (
		dir     string
		address config.Address
		cert    config.TLS
	)
	rest, err := config.Parse("admin refresh", args[1:], getenv, stderr, describe(aboutRefresh),
		state(&dir, getenv), address.Flags, cert.Flags, ofTheServer)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("admin refresh takes no argument %q: %w", rest[0], config.ErrUsage)
	}
	if err := address.Check(); err != nil {
		return err
	}
	answer, err := handlers.RequestRefresh(ctx, dir, address.Addr, address.BasePath, cert.Cert)
	if err != nil {
		refusal := map[string]any{"ok": false, "error": err.Error()}
		return errors.Join(ErrTold, json.NewEncoder(stderr).Encode(refusal))
	}
	return json.NewEncoder(stdout).Encode(answer)
}
