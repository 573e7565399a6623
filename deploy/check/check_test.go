package check_test

import (
	"flag"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/deploy/check"
)

var update = flag.Bool("update", false, "write the files that are made from others")

// tree is the repository's own deploy folder with what the code says; the programs are built and the sandbox is run once.
func tree(t *testing.T) check.Tree {
	t.Helper()
	got, err := readTree()
	require.NoError(t, err)
	return got
}

var readTree = sync.OnceValues(func() (check.Tree, error) {
	deploy, err := filepath.Abs("..")
	if err != nil {
		return check.Tree{}, err
	}
	tree := check.Tree{Dir: deploy, Judged: new(sync.Map)}
	tiers, err := tree.Tiers()
	if err != nil {
		return tree, err
	}
	tree.Code, err = check.ReadCode(scope, filepath.Dir(deploy), filepath.Join(work, "bin"), tiers, os.Getenv("SCRAPE"))
	return tree, err
})

// wholeTree checks the repository's own folder, once.
func wholeTree(t *testing.T) ([]check.Finding, check.Tree) {
	t.Helper()
	whole := tree(t)
	return checkWhole(), whole
}

var checkWhole = sync.OnceValue(func() []check.Finding {
	whole, err := readTree()
	if err != nil {
		return nil // said by tree
	}
	return whole.All()
})

func TestNothingIsFound(t *testing.T) {
	t.Parallel()
	found, _ := wholeTree(t)
	for _, f := range found {
		t.Error(f)
	}
}

func TestTheFilesThatAreMadeFromOthersAreUpToDate(t *testing.T) {
	t.Parallel()
	deploy, err := filepath.Abs("..")
	require.NoError(t, err)
	files, err := check.Tree{Dir: deploy}.Files()
	require.NoError(t, err)
	for path, want := range files {
		path = filepath.Join(deploy, path)
		if *update {
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			require.NoError(t, os.WriteFile(path, want, 0o644))
		}
		got, err := os.ReadFile(path)
		require.NoError(t, err, "make deploy-files")
		require.Equal(t, string(want), string(got), "%s: make deploy-files", path)
	}
}
