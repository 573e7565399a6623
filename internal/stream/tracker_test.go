package stream

import (
	"math/rand/v2"
	"testing"
	"testing/quick"

	"github.com/stretchr/testify/require"
)

// slowTracker is the dumb model: it remembers everything and looks at all of it.
type slowTracker struct {
	start   int64
	added   []int64
	skipped int64
	done    map[int64]bool
}

func (s *slowTracker) position() int64 {
	tail := s.start
	for _, o := range s.added {
		if !s.done[o] {
			return o
		}
		tail = o + 1
	}
	return max(tail, s.skipped)
}

func TestTrackerAgreesWithADumbOne(t *testing.T) {
	t.Parallel()
	agrees := func(seed uint64) bool {
		r := rand.New(rand.NewPCG(seed, 1))
		start := r.Int64N(1000)
		fast, slow := newTracker(start), &slowTracker{start: start, done: map[int64]bool{}}
		var open []*slot
		next, last := start, start
		for range 300 {
			switch {
			case r.IntN(8) == 0:
				next += r.Int64N(3)
				fast.skip(next)
				slow.skipped = next
			case len(open) == 0 || r.IntN(2) == 0:
				next += r.Int64N(3) // sometimes a hole
				open = append(open, fast.add(next))
				slow.added = append(slow.added, next)
				next++
			default:
				i := r.IntN(len(open))
				slow.done[open[i].offset] = true
				fast.finish(open[i])
				open = append(open[:i], open[i+1:]...)
			}
			if p := fast.position(); p != slow.position() || p < last {
				return false
			}
			last = fast.position()
		}
		return true
	}
	require.NoError(t, quick.Check(agrees, &quick.Config{MaxCount: 500}))
}

func TestTrackerForgetsTheFinishedPrefix(t *testing.T) {
	t.Parallel()
	tr := newTracker(7)
	require.EqualValues(t, 7, tr.position())
	for o := int64(7); o < 10_007; o++ {
		tr.finish(tr.add(o))
		require.Zero(t, tr.size())
	}
	require.EqualValues(t, 10_007, tr.position())
}
