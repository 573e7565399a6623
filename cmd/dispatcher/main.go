// Command dispatcher: see the package documentation of dispatcher/app.
package main

import (
	"os"

	"paydispatch/cmd/dispatcher/app"
	"paydispatch/cmd/internal/service"
)

func main() { os.Exit(service.Main(app.Run)) }
