package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"paydispatch/test/overlay"
)

// binaries are the programs under test.
type binaries struct {
	dispatcher, ingest string
	// newer is a dispatcher that writes a field into its records and parked copies which this one does not know.
	newer string
}

// clock makes the wall clock of a whole process wrong: Go reads it without the C library, so that no library that is
// loaded first can. Every reading goes through time.Now, also those of the libraries. The program's own sources are
// as they are.
func clock(goroot string) []overlay.Edit {
	dir := filepath.Join(goroot, "src", "time")
	return []overlay.Edit{
		{
			File: filepath.Join(dir, "time.go"), Old: "	mono -= startNano\n	sec += unixToInternal - minWall\n",
			New: "	mono -= startNano\n	sec += unixToInternal - minWall + chaosOff.Load()\n",
		},
		{File: filepath.Join(dir, "chaos.go"), New: clockSource},
	}
}

const clockSource = `package time

import (
	"sync/atomic"
	"syscall"
)

// chaosOff is by how many seconds the wall clock is wrong, as the file says that CHAOS_CLOCK_FILE names.
var chaosOff atomic.Int64

func init() {
	name, found := syscall.Getenv("CHAOS_CLOCK_FILE")
	if !found {
		return
	}
	chaosRead(name)
	go func() {
		for {
			Sleep(50 * Millisecond)
			chaosRead(name)
		}
	}()
}

func chaosRead(name string) {
	file, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer syscall.Close(file)
	var text [20]byte
	n, err := syscall.Read(file, text[:])
	if err != nil || n < 1 {
		return
	}
	var off, sign int64 = 0, 1
	for _, c := range text[:n] {
		switch {
		case c == '-':
			sign = -1
		case c >= '0' && c <= '9':
			off = off*10 + int64(c-'0')
		}
	}
	chaosOff.Store(sign * off)
}
`

// newer are the edits that make the dispatcher a later version: its records hold a field more.
func newer() []overlay.Edit {
	return []overlay.Edit{
		{
			File: "internal/commands/state.go", Old: "	Changes int `json:\"changes,omitempty\"`\n",
			New: "	Changes int `json:\"changes,omitempty\"`\n	Newer string `json:\"newer,omitempty\"`\n",
		},
		{
			File: "internal/commands/encode.go", Old: "	e.count(\"changes\", s.Changes)\n",
			New: "	e.count(\"changes\", s.Changes)\n	e.text(\"newer\", \"a later version's field\")\n",
		},
		{
			File: "internal/commands/read.go", Old: "s.Told, s.Changes = r.reply(\"refusal\"), r.texts(\"seen\"), r.text(\"told\"), r.count(\"changes\")\n",
			New: "s.Told, s.Changes, s.Newer = r.reply(\"refusal\"), r.texts(\"seen\"), r.text(\"told\"), r.count(\"changes\"), r.text(\"newer\")\n",
		},
	}
}

// build builds a program with edits, into the folder, from the working directory's module.
func build(ctx context.Context, out, name string, edits ...overlay.Edit) (string, error) {
	if err := os.MkdirAll(out, 0o700); err != nil {
		return "", err
	}
	path := filepath.Join(out, name)
	args := []string{"build", "-trimpath", "-o", path}
	if len(edits) > 0 {
		dir, err := os.MkdirTemp("", "chaos-overlay-")
		if err != nil {
			return "", err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		file, err := overlay.Write(dir, edits...)
		if err != nil {
			return "", fmt.Errorf("build %s: %w", path, err)
		}
		args = append(args, "-overlay", file)
	}
	command := exec.CommandContext(ctx, "go", append(args, "./cmd/"+name)...)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", path, err, said)
	}
	return path, nil
}

// goroot is where the standard library's sources are.
func goroot(ctx context.Context) (string, error) {
	raw, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	return strings.TrimSpace(string(raw)), err
}

// buildAll builds what the rows need into dir, each with the clock that can be wrong; what is given is taken as it is.
func buildAll(ctx context.Context, dir string, given binaries) (binaries, error) {
	root, err := goroot(ctx)
	if err != nil {
		return given, err
	}
	plain := filepath.Join(dir, "plain")
	if given.dispatcher == "" {
		if given.dispatcher, err = build(ctx, plain, "dispatcher", clock(root)...); err != nil {
			return given, err
		}
	}
	if given.ingest == "" {
		if given.ingest, err = build(ctx, plain, "callback-ingest", clock(root)...); err != nil {
			return given, err
		}
	}
	given.newer, err = build(ctx, filepath.Join(dir, "newer"), "dispatcher", append(clock(root), newer()...)...)
	return given, err
}
