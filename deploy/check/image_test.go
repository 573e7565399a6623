package check_test

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/deploy/check"
)

// TestTheImageRunsWithNothingElseInIt builds the Dockerfile's own last stage with buildah, from scratch and without a
// registry, and runs the programs in it.
func TestTheImageRunsWithNothingElseInIt(t *testing.T) {
	t.Parallel()
	built := t.TempDir()
	for _, dir := range []string{"out/services", "out/etc/ssl/certs"} {
		require.NoError(t, os.MkdirAll(filepath.Join(built, dir), 0o755))
	}
	bin := tree(t).Code.Bin
	for _, program := range []string{"dispatcher", "callback-ingest", "payctl"} {
		file, err := elf.Open(filepath.Join(bin, program))
		require.NoError(t, err)
		require.False(t, slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }), "%s needs a loader", program)
		require.NoError(t, file.Close())
		copied(t, filepath.Join(bin, program), filepath.Join(built, "out", "services", program), 0o755)
	}
	copied(t, "/etc/ssl/certs/ca-certificates.crt", filepath.Join(built, "out", "etc", "ssl", "certs", "ca-certificates.crt"), 0o644)

	stage, err := check.Tree{Dir: ".."}.LastStage()
	require.NoError(t, err)
	file := filepath.Join(built, "Dockerfile")
	require.NoError(t, os.WriteFile(file, []byte(stage), 0o600))
	store := t.TempDir()
	buildah := func(args ...string) string {
		cmd := exec.Command("buildah", append([]string{"--root", store + "/root", "--runroot", store + "/run", "--storage-driver", "vfs"}, args...)...)
		cmd.Env = append(os.Environ(), "BUILDAH_ISOLATION=chroot")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s\nscripts/kube-install installs buildah", out)
		return strings.TrimSpace(string(out))
	}
	buildah("bud", "--pull-never", "--build-context", "build="+built, "--tag", "paydispatch:check", "--file", file, built)
	require.Equal(t, "65532:65532", buildah("inspect", "--type", "image", "--format", "{{.OCIv1.Config.User}}", "paydispatch:check"))

	container := buildah("from", "--pull-never", "paydispatch:check")
	root := buildah("mount", container)
	var files []string
	require.NoError(t, filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			rel, _ := filepath.Rel(root, path)
			files = append(files, rel)
		}
		return err
	}))
	require.Equal(t, []string{"callback-ingest", "dispatcher", "etc/ssl/certs/ca-certificates.crt", "payctl"}, files)
	for _, program := range []string{"dispatcher", "callback-ingest"} {
		require.Contains(t, buildah("run", "--isolation", "chroot", container, "/"+program, "--print-config"), "KAFKA_BROKERS")
	}
	require.Contains(t, buildah("run", "--isolation", "chroot", container, "/payctl", "--help"), "dlq")
	buildah("rm", container)
}

func copied(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	raw, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, raw, mode))
}
