package process

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func logFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestAServerTellsItsAddressAndStops(t *testing.T) {
	t.Parallel()
	p, address, err := StartServer(Config{Name: "cat", Path: "/bin/sh", Args: []string{"-c", "echo here; exec cat"}, Log: logFile(t)})
	require.NoError(t, err)
	require.Equal(t, "here", address)
	require.Positive(t, p.Usage().RSS)
	_, killed := p.Stop(10 * time.Second)
	require.False(t, killed)
	require.Positive(t, p.Usage().Peak, "the kernel's final account")
}

func TestAServerThatNeverServesIsAnError(t *testing.T) {
	t.Parallel()
	_, _, err := StartServer(Config{Name: "it", Path: "/bin/sh", Args: []string{"-c", "exit 3"}, Log: logFile(t)})
	require.ErrorContains(t, err, "it ended before it served")
}

func TestAStubbornProcessIsKilled(t *testing.T) {
	t.Parallel()
	p, _, err := StartServer(Config{
		Name: "stubborn", Path: "/bin/sh", Args: []string{"-c", "trap '' TERM; echo up; while read line; do :; done"}, Log: logFile(t),
	})
	require.NoError(t, err)
	_, killed := p.Stop(50 * time.Millisecond)
	require.True(t, killed)
}

func TestUsageOfThisProcess(t *testing.T) {
	t.Parallel()
	u, err := Of(os.Getpid())
	require.NoError(t, err)
	require.Positive(t, u.RSS)
	require.GreaterOrEqual(t, u.Peak, u.RSS)
	require.Greater(t, Machine(), u.CPU)
}
