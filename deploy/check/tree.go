package check

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Tree is a deploy folder, the repository's or a copy of it, and what the code says.
type Tree struct {
	Dir  string
	Code Code
	// Judged are rules and cases that promtool has passed already, and command lines that payctl has: copies of a tree need
	// not ask again.
	Judged *sync.Map
}

func (t Tree) path(rel string) string { return filepath.Join(t.Dir, filepath.FromSlash(rel)) }

func (t Tree) short(path string) string {
	if rel, err := filepath.Rel(t.Dir, path); err == nil {
		return filepath.ToSlash(rel)
	}
	return path
}

// All runs every check that reads files only, against what Code says.
func (t Tree) All() []Finding {
	overlays, found := t.Overlays()
	dummies := Dummies(overlays)
	for _, o := range overlays {
		found = append(found, o.Custom()...)
		found = append(found, o.Pods()...)
		found = append(found, o.Links()...)
		found = append(found, o.Calm()...)
		found = append(found, o.Settings(t.Code, dummies)...)
	}
	found = append(found, t.Unset(overlays)...)
	found = append(found, t.Topics(overlays)...)
	found = append(found, t.Alerts()...)
	found = append(found, t.Dashboards()...)
	found = append(found, t.Runbooks()...)
	found = append(found, t.Compose()...)
	return append(found, t.Images()...)
}

// run runs a tool and returns what it printed, in the error too when it failed.
func run(dir, name string, args ...string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is missing: scripts/kube-install installs it", name)
	}
	var out bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		cmd.Env = append(cmd.Env, "TMPDIR=/dev/shm") // promtool makes a database a case, and syncs each to the disk
	}
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}
