package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"paydispatch/test/overlay"
)

// defaultSeeds is how many runs of the simulation a mistake may hide in.
const defaultSeeds = 600

// mutant is one mistake.
type mutant struct {
	name string
	// danger is what would go wrong.
	danger string
	// file, below the module's root, in which old is replaced by new; old stands there exactly once.
	file, old, new string
	// suites are tried in turn until one fails.
	suites []suite
	// alive is the reason why no test can notice it; "" when one must.
	alive string
}

// suite is what `go test` is given.
type suite struct {
	name     string
	packages []string
	args     []string
	env      []string
}

// simulation plays the whole service, with as many seeds as [mutant.within] says.
func simulation() suite {
	return suite{name: "simulation", packages: []string{"./internal/sim"}, args: []string{"-run", "^TestSimulation$"}}
}

// unit runs the tests of packages below internal.
func unit(packages ...string) suite {
	s := suite{name: strings.Join(packages, " ")}
	for _, p := range packages {
		s.packages = append(s.packages, "./internal/"+p)
	}
	return s
}

// outcome is what became of a mutant.
type outcome struct {
	mutant
	// killedBy is the suite and the first failed test, "" when it is alive.
	killedBy string
	err      error
	took     time.Duration
}

func (o outcome) String() string {
	word := "ALIVE"
	switch {
	case o.err != nil:
		word = "not tried: " + o.err.Error()
	case o.killedBy != "":
		word = "killed by " + o.killedBy
	case o.alive != "":
		word = "alive: " + o.alive
	}
	return fmt.Sprintf("%-60s %s (%.0f s)", o.name, word, o.took.Seconds())
}

// soughtBy leaves out the suites whose name does not match.
func (m mutant) soughtBy(name *regexp.Regexp) mutant {
	m.suites = slices.DeleteFunc(slices.Clone(m.suites), func(s suite) bool { return !name.MatchString(s.name) })
	return m
}

// within has the simulation play so many seeds.
func (m mutant) within(seeds int) mutant {
	m.suites = slices.Clone(m.suites)
	for i := range m.suites {
		m.suites[i].env = append(slices.Clone(m.suites[i].env), "SEEDS="+strconv.Itoa(seeds))
	}
	return m
}

// try plants the mistake and runs the suites until one notices it.
func (m mutant) try(ctx context.Context) (o outcome) {
	began := time.Now()
	o = outcome{mutant: m}
	defer func() { o.took = time.Since(began) }()
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		o.err = err
		return o
	}
	defer func() { _ = os.RemoveAll(dir) }()
	planted, err := overlay.Write(dir, overlay.Edit{File: m.file, Old: m.old, New: m.new})
	if err != nil {
		o.err = err
		return o
	}
	for _, s := range m.suites {
		if o.killedBy, o.err = s.run(ctx, planted); o.err != nil || o.killedBy != "" {
			return o
		}
	}
	return o
}

var failedTest = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// run returns the suite and the test that failed, "" when none did.
func (s suite) run(ctx context.Context, overlay string) (killedBy string, err error) {
	args := append([]string{"test", "-vet=off", "-count=1", "-failfast", "-timeout=5m", "-overlay=" + overlay}, s.args...)
	command := exec.CommandContext(ctx, "go", append(args, s.packages...)...)
	command.Env = append(os.Environ(), s.env...)
	out, err := command.CombinedOutput()
	if err == nil {
		return "", nil
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if bytes.Contains(out, []byte("[build failed]")) || bytes.Contains(out, []byte("[setup failed]")) {
		return "", errors.New("does not compile: " + firstLines(out, 3))
	}
	test := "a panic or the end of its time"
	if found := failedTest.FindSubmatch(out); found != nil {
		test = string(found[1])
	}
	return s.name + ": " + test, nil
}

func firstLines(out []byte, n int) string {
	lines := strings.SplitN(string(out), "\n", n+1)
	return strings.Join(lines[:min(n, len(lines))], " / ")
}
