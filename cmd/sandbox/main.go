// Command sandbox: see the package documentation of sandbox/app.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"paydispatch/cmd/sandbox/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := app.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
