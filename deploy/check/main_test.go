package check_test

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// work is a folder for the whole run, scope its context: the programs are built and asked once for all tests.
var (
	work  string
	scope = context.Background()
)

func TestMain(m *testing.M) {
	code := 1
	defer func() { os.Exit(code) }()
	dir, err := os.MkdirTemp("", "deploy-check-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer os.RemoveAll(dir)
	work = dir
	code = m.Run()
}
