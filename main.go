// Command fabric-guild is the guild backend of Fabric. Clients send every mutation by HTTP, and each user
// reads one Server-Sent Events stream. This file has the arguments, the signals and the exit codes; the
// commands themselves are in package command.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"fabric-guild/events/remote"
	"fabric-guild/handlers/command"
	"fabric-guild/handlers/config"
)

func main() {
	if os.Getpid() == 1 {
		if code, ok := command.RunAsInit(); ok {
			os.Exit(code)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), remote.EndSignals()...)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := command.Run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	var told *remote.Error
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, command.ErrTold):
		os.Exit(1)
	case errors.Is(err, config.ErrUsage):
		fmt.Fprintln(os.Stderr, "fabric-guild:", err)
		os.Exit(2)
	case errors.As(err, &told):
		fmt.Fprintln(os.Stderr, "fabric-guild:", err)
		os.Exit(told.ExitCode())
	default:
		fmt.Fprintln(os.Stderr, "fabric-guild:", command.OneLine(err))
		os.Exit(1)
	}
}
