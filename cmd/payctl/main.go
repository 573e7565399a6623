// Command payctl: see the package documentation of payctl/app.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"paydispatch/cmd/payctl/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := app.Main(ctx, os.Args[1:], os.Getenv, app.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code)
}
