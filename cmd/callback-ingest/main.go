// Command callback-ingest: see the package documentation of callback-ingest/app.
package main

import (
	"os"

	"paydispatch/cmd/callback-ingest/app"
	"paydispatch/cmd/internal/service"
)

func main() { os.Exit(service.Main(app.Run)) }
