package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	namedTest = regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)(…?)`")
	testFunc  = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)\(`)
)

// TestGuaranteesNameTestsThatExist: a guarantee whose test was renamed or removed would be claimed without proof.
func TestGuaranteesNameTestsThatExist(t *testing.T) {
	t.Parallel()
	exist := map[string]bool{}
	require.NoError(t, filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, f := range testFunc.FindAllSubmatch(source, -1) {
			exist[string(f[1])] = true
		}
		return err
	}))
	page, err := os.ReadFile("../../docs/guarantees.md")
	require.NoError(t, err)
	named := namedTest.FindAllStringSubmatch(string(page), -1)
	require.Greater(t, len(named), 20)
	for _, n := range named {
		found := exist[n[1]]
		for name := range exist {
			found = found || n[2] != "" && strings.HasPrefix(name, n[1])
		}
		require.True(t, found, "%s is no test", n[1])
	}
}
