// Command crds prints the paths of the CRDs that the manifests need, one a line, downloading their Go modules if it has to.
package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"paydispatch/deploy/check"
)

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(stdout io.Writer) error {
	files, err := check.CRDFiles()
	if err != nil {
		return err
	}
	for _, path := range slices.Sorted(maps.Values(files)) {
		if path, err = filepath.Abs(path); err != nil {
			return err
		}
		fmt.Fprintln(stdout, path)
	}
	return nil
}
