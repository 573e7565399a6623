package arch_test

import (
	"fmt"
	"go/ast"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// report fails with every finding on its own line.
func report(t *testing.T, rule string, findings []string) {
	t.Helper()
	if len(findings) > 0 {
		t.Errorf("%s\n  %s", rule, strings.Join(findings, "\n  "))
	}
}

// lookup finds the rule of a package: its own, or that of the nearest /... above it.
func lookup(dir string) (rule, bool) {
	if r, ok := table[dir]; ok {
		return r, true
	}
	for up := dir; up != "." && up != "/"; up = path.Dir(up) {
		if r, ok := table[up+"/..."]; ok {
			return r, true
		}
	}
	return rule{}, false
}

func TestEveryPackageHasItsPlaceInTheTable(t *testing.T) {
	t.Parallel()
	var findings []string
	for _, p := range load(t) {
		if _, ok := lookup(p.path); !ok {
			findings = append(findings, p.path+": not in the table: place it in internal/arch/table_test.go")
		}
	}
	report(t, "a package is placed deliberately", findings)
}

func TestImportsFollowTheTable(t *testing.T) {
	t.Parallel()
	var findings []string
	for _, p := range load(t) {
		r, _ := lookup(p.path)
		for _, i := range p.imports {
			if why := r.refuses(p.path, i); why != "" {
				findings = append(findings, fmt.Sprintf("%s imports %s: %s", i.file, i.path, why))
			}
		}
	}
	report(t, "imports follow the table in internal/arch/table_test.go", findings)
}

// refuses says why a package may not have an import, or nothing when it may.
func (r rule) refuses(dir string, i imported) string {
	if standard(i.path) {
		return ""
	}
	own, isOwn := strings.CutPrefix(i.path, module+"/")
	switch {
	case isOwn && own == dir && i.test:
		return "" // the external test package
	case isOwn && slices.Contains(r.may, own):
		return ""
	case isOwn && i.test && !under(own, "cmd"):
		return ""
	case isOwn && i.test:
		return "only programs and test/ may drive a program"
	case isOwn:
		return "an arrow of this module that the table does not have"
	case underAny(i.path, r.libs):
		return ""
	case i.test && (i.path == testify || underAny(i.path, append(testLibs, r.testLibs...))):
		return ""
	}
	return "a library that the table does not give to this package"
}

func TestTheTableRefusesWhatItDoesNotGrant(t *testing.T) {
	t.Parallel()
	r := rule{may: []string{"internal/stream"}, libs: []string{kafkaGo}, testLibs: []string{franz}}
	cases := map[string]struct {
		path string
		test bool
		ok   bool
	}{
		"the standard library":                {"net/http", false, true},
		"a package granted":                   {module + "/internal/stream", false, true},
		"a package below one granted":         {module + "/internal/stream/memstream", false, false},
		"a package not granted":               {module + "/internal/dispatch", false, false},
		"the same from a test":                {module + "/internal/dispatch", true, true},
		"a program from a test":               {module + "/cmd/dispatcher/app", true, false},
		"itself from its external test":       {module + "/internal/here", true, true},
		"a library granted":                   {kafkaGo, false, true},
		"a part of a library granted":         {kafkaGo + "/compress", false, true},
		"a library whose name only begins so": {kafkaGo + "x", false, false},
		"a library not granted":               {redisLib, false, false},
		"that library from a test":            {redisLib, true, false},
		"a test library from a test":          {franz + "/pkg/kfake", true, true},
		"a test library from code":            {franz + "/pkg/kfake", false, false},
		"require from a test":                 {testify, true, true},
		"require from code":                   {testify, false, false},
		"assert from a test":                  {"github.com/stretchr/testify/assert", true, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			why := r.refuses("internal/here", imported{path: c.path, test: c.test})
			require.Equal(t, c.ok, why == "", why)
		})
	}
}

func TestALibraryHasOneOwner(t *testing.T) {
	t.Parallel()
	var findings []string
	for _, p := range load(t) {
		for _, i := range p.imports {
			for library, allowed := range owners {
				if under(i.path, library) && !slices.Contains(allowed, p.path) {
					findings = append(findings, fmt.Sprintf("%s imports %s: it belongs to %s",
						i.file, i.path, strings.Join(allowed, ", ")))
				}
			}
		}
	}
	report(t, "only its owner speaks to a library", findings)
}

func TestNoAdapterKnowsAnother(t *testing.T) {
	t.Parallel()
	var findings []string
	for _, p := range load(t) {
		if !slices.Contains(adapters, p.path) {
			continue
		}
		for _, i := range p.imports {
			own, _ := strings.CutPrefix(i.path, module+"/")
			if !i.test && own != p.path && slices.Contains(adapters, own) {
				findings = append(findings, fmt.Sprintf("%s imports %s", i.file, i.path))
			}
		}
	}
	report(t, "no adapter imports another", findings)
}

// TestTheServicesLinkNothingOfTheTests asks the go command, since a library may bring another along.
func TestTheServicesLinkNothingOfTheTests(t *testing.T) {
	t.Parallel()
	load(t) // for Go's test cache: the answer depends on every file
	root := moduleRoot(t)
	for _, name := range []string{"go.mod", "go.sum"} {
		_, err := os.ReadFile(path.Join(root, name))
		require.NoError(t, err)
	}
	for _, program := range services {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			var stderr strings.Builder
			list := exec.CommandContext(t.Context(), "go", "list", "-deps", "./"+program)
			list.Dir, list.Stderr = root, &stderr
			out, err := list.Output()
			require.NoError(t, err, stderr.String())

			linked := strings.Fields(string(out))
			require.Contains(t, linked, module+"/"+program)
			require.Contains(t, linked, module+"/internal/commands")
			var findings []string
			for _, dep := range linked {
				if underAny(dep, neverLinked) {
					findings = append(findings, dep)
				}
			}
			report(t, program+" links what only tests and the sandbox may", findings)
		})
	}
}

// core is what decides about money, with the reader that it shares with the adapters (docs/adr/0006-one-reader.md).
var core = []string{"internal/commands", "internal/jsonobject"}

func TestTheCoreIsPure(t *testing.T) {
	t.Parallel()
	var findings []string
	for _, p := range load(t) {
		if !slices.Contains(core, strings.TrimPrefix(p.path, module+"/")) {
			continue
		}
		for _, i := range p.imports {
			if !i.test && (underAny(i.path, impure) || !standard(i.path) && !slices.Contains(core, strings.TrimPrefix(i.path, module+"/"))) {
				findings = append(findings, fmt.Sprintf("%s imports %s", i.file, i.path))
			}
		}
		for _, file := range p.files {
			if !file.test {
				findings = append(findings, effects(file)...)
			}
		}
	}
	report(t, "the core does no I/O, starts no goroutine, reads no clock, rolls no dice", findings)
}

// effects lists the goroutines, channels and clocks that a file touches.
func effects(file source) []string {
	var findings []string
	ast.Inspect(file.tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			findings = append(findings, file.path+" starts a goroutine")
		case *ast.ChanType, *ast.SelectStmt:
			findings = append(findings, file.path+" uses channels")
		case *ast.SelectorExpr:
			of, ok := n.X.(*ast.Ident)
			if ok && of.Name == "time" && slices.Contains(clockNames, n.Sel.Name) {
				findings = append(findings, file.path+" reads the clock: time."+n.Sel.Name)
			}
		}
		return true
	})
	return findings
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	var findings []string
	for _, p := range load(t) {
		want := "Package " + p.name + " "
		switch {
		case len(p.docs) == 0:
			findings = append(findings, p.path+": no package comment")
		case len(p.docs) > 1:
			findings = append(findings, p.path+": a package comment in more than one file")
		case p.name != "main" && !strings.HasPrefix(p.docs[0], want):
			findings = append(findings, p.path+": its comment does not begin with "+want)
		}
	}
	report(t, "every package has one comment that says what it does, refuses, and needs from its caller", findings)
}

func TestPackageNamesSayWhatIsInside(t *testing.T) {
	t.Parallel()
	var findings []string
	for _, p := range load(t) {
		if slices.Contains(badNames, p.name) || slices.Contains(badNames, path.Base(p.path)) {
			findings = append(findings, p.path+": package "+p.name)
		}
	}
	report(t, "no package is a drawer", findings)
}

// TestTheTableItselfFollowsTheDesign catches a table that was widened to let a wrong import in.
func TestTheTableItselfFollowsTheDesign(t *testing.T) {
	t.Parallel()
	require.Equal(t, rule{may: core[1:]}, table["internal/commands"], "beside its reader the core imports the standard library only")
	require.Equal(t, rule{}, table["internal/jsonobject"], "the core's reader imports the standard library only")
	var findings []string
	for dir, r := range table {
		for _, may := range r.may {
			if slices.Contains(adapters, dir) && slices.Contains(adapters, may) {
				findings = append(findings, fmt.Sprintf("%s -> %s: no adapter imports another", dir, may))
			}
			if strings.HasPrefix(dir, "internal/") && under(may, "cmd") && dir != "internal/sim/..." {
				findings = append(findings, fmt.Sprintf("%s -> %s: arrows point away from cmd", dir, may))
			}
		}
		for _, twin := range []string{franz, miniredis} {
			if slices.Contains(r.libs, twin) && !underAny(dir, []string{"cmd/sandbox", "test/integration", "test/chaos", "bench"}) {
				findings = append(findings, fmt.Sprintf("%s -> %s: the embedded default is for sandbox, tests and bench", dir, twin))
			}
		}
	}
	slices.Sort(findings)
	report(t, "the table follows the design", findings)
}
