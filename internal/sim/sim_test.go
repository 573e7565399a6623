package sim

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// defaultSeeds are what `make test` plays; `make sim SEEDS=n` plays more.
const defaultSeeds = 50

// number reads an environment variable; ok is false when it is not set.
func number(t *testing.T, name string) (n uint64, ok bool) {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err, name)
	return n, true
}

func TestSimulation(t *testing.T) {
	t.Parallel()
	if seed, ok := number(t, "SEED"); ok {
		out := run(t, seed, mutation{})
		t.Logf("trace of seed %d:\n%s", seed, out.trace)
		requireKept(t, out)
		return
	}
	seeds, ok := number(t, "SEEDS")
	if !ok {
		seeds = defaultSeeds
	}
	var total summary
	t.Cleanup(func() { fmt.Println(total.String()) })
	workers := uint64(runtime.GOMAXPROCS(0))
	for first := range workers {
		t.Run(fmt.Sprintf("from seed %d", first), func(t *testing.T) {
			t.Parallel()
			for seed := first; seed < seeds; seed += workers {
				out := run(t, seed, mutation{})
				requireKept(t, out)
				total.add(out)
			}
		})
	}
}

// requireKept fails with the seed, the broken promise and the trace, which is written to a file too.
func requireKept(t *testing.T, out outcome) {
	t.Helper()
	if out.violation == "" {
		return
	}
	path := filepath.Join(os.TempDir(), fmt.Sprintf("sim-seed-%d.trace", out.seed))
	require.NoError(t, os.WriteFile(path, []byte(out.trace), 0o600))
	t.Fatalf("seed %d: %s\nplay it again: make sim SEED=%d\nits trace, also in %s:\n%s", out.seed, out.violation, out.seed, path, out.trace)
}

// summary adds up the runs.
type summary struct {
	mu       sync.Mutex
	seeds    int
	steps    int
	struck   map[string]int
	results  map[string]int
	distinct map[[32]byte]bool
}

func (s *summary) add(out outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.struck == nil {
		s.struck, s.results, s.distinct = map[string]int{}, map[string]int{}, map[[32]byte]bool{}
	}
	s.seeds++
	s.steps += out.stats.steps
	for f, n := range out.stats.struck {
		s.struck[string(f)] += n
	}
	for e, n := range out.stats.events {
		s.struck[e] += n
	}
	for kind, n := range out.stats.results {
		s.results[kind] += n
	}
	s.distinct[sha256.Sum256([]byte(out.trace))] = true
}

func (s *summary) String() string {
	return fmt.Sprintf("simulation: %d seeds, %d steps, %d distinct traces, %d crashes, %d wipes\nstruck: %s\nresults: %s",
		s.seeds, s.steps, len(s.distinct), s.struck["crash"], s.struck["wipe"], listed(s.struck), listed(s.results))
}

func listed(counts map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(parts, ", ")
}

func TestSameSeedSameTrace(t *testing.T) {
	t.Parallel()
	for first := range uint64(2) {
		t.Run(fmt.Sprintf("from seed %d", first), func(t *testing.T) {
			t.Parallel()
			for seed := first; seed < 40; seed += 2 {
				once, again := run(t, seed, mutation{}), run(t, seed, mutation{})
				require.Equal(t, once.trace, again.trace, "seed %d", seed)
			}
		})
	}
}
