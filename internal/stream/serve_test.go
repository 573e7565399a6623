package stream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/handover"
	"paydispatch/internal/stream"
)

// fakeGeneration serves fixed messages of topic "t" and records commits.
type fakeGeneration struct {
	partitions map[int][]stream.Message
	ends       map[int]int64 // of the logs, where nothing to handle follows the messages

	mu        sync.Mutex
	fetchErrs int // so many fetches fail first
	commitErr error
	commits   [][]stream.Assignment
	committed map[int]int64
}

func (g *fakeGeneration) Assignments() []stream.Assignment {
	var all []stream.Assignment
	for p := range len(g.partitions) {
		all = append(all, stream.Assignment{Topic: "t", Partition: p})
	}
	return all
}

func (g *fakeGeneration) Fetch(ctx context.Context, a stream.Assignment, from int64) ([]stream.Message, int64, error) {
	g.mu.Lock()
	failing := g.fetchErrs > 0
	g.fetchErrs--
	g.mu.Unlock()
	if failing {
		return nil, from, errors.New("leader moved")
	}
	if log := g.partitions[a.Partition]; from < int64(len(log)) {
		return log[from:], int64(len(log)), nil
	}
	if from < g.ends[a.Partition] {
		return nil, g.ends[a.Partition], nil
	}
	<-ctx.Done()
	return nil, from, ctx.Err()
}

func (g *fakeGeneration) Commit(_ context.Context, next []stream.Assignment) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.commits = append(g.commits, next)
	if g.commitErr != nil {
		return g.commitErr
	}
	for _, a := range next {
		g.committed[a.Partition] = a.Offset
	}
	return nil
}

func (g *fakeGeneration) at(partition int) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.committed[partition]
}

func (g *fakeGeneration) committedCalls() [][]stream.Assignment {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.commits)
}

// with makes a generation of one partition from "key" or "key:headervalue" words.
func with(keys ...string) *fakeGeneration {
	g := &fakeGeneration{partitions: map[int][]stream.Message{}, committed: map[int]int64{}}
	return g.plus(keys...)
}

func (g *fakeGeneration) plus(keys ...string) *fakeGeneration {
	p := len(g.partitions)
	var log []stream.Message
	for i, k := range keys {
		log = append(log, stream.Message{Topic: "t", Partition: p, Offset: int64(i), Key: []byte(k), Value: []byte("v")})
	}
	g.partitions[p] = log
	return g
}

// handler records which offsets started and finished and lets the test decide each one's fate.
type handler struct {
	mu       sync.Mutex
	started  []string // "partition/offset"
	finished []string
	fate     func(ctx context.Context, m stream.Message) error
}

func (h *handler) Handle(ctx context.Context, m stream.Message) error {
	name := fmt.Sprintf("%d/%d", m.Partition, m.Offset)
	h.mu.Lock()
	h.started = append(h.started, name)
	h.mu.Unlock()
	if h.fate != nil {
		if err := h.fate(ctx, m); err != nil {
			return err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.finished = append(h.finished, name)
	return nil
}

func (h *handler) starts() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.started...)
}

func (h *handler) ends() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.finished...)
}

func config() stream.Config {
	return stream.Config{
		InFlight: 4, Window: 100, CommitEvery: 100 * time.Millisecond, DrainBudget: 5 * time.Second,
		RetryMin: 100 * time.Millisecond, RetryMax: time.Second,
		Jitter: func(string, int) float64 { return 0 },
	}
}

// serving starts Serve in the bubble; stop ends the generation, wait returns Serve's error.
func serving(t *testing.T, gen stream.Generation, h stream.Handler, cfg stream.Config) (stop func(), wait func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- stream.Serve(ctx, gen, h, cfg) }()
	return cancel, func() error { return <-done }
}

func TestServeRunsKeysSideBySideAndOneKeyInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gen := with("a", "a", "b", "c", "a", "", "", "d")
		release := make(chan struct{})
		h := &handler{fate: func(context.Context, stream.Message) error { <-release; return nil }}
		stop, wait := serving(t, gen, h, config())
		synctest.Wait()
		require.ElementsMatch(t, []string{"0/0", "0/2", "0/3", "0/5"}, h.starts(), "four places, one a key, none shared by empty keys")
		close(release)
		synctest.Wait()
		require.Len(t, h.ends(), 8)
		order := map[string]int{}
		for i, name := range h.starts() {
			order[name] = i
		}
		require.Less(t, order["0/0"], order["0/1"])
		require.Less(t, order["0/1"], order["0/4"])
		stop()
		require.NoError(t, wait())
		require.EqualValues(t, 8, gen.at(0))
	})
}

func TestServeCommitsOnlyTheFinishedPrefixAndOnlyForward(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gen := with("a", "b", "c", "d").plus("x")
		release := make(chan struct{})
		h := &handler{fate: func(_ context.Context, m stream.Message) error {
			if string(m.Key) == "b" {
				<-release
			}
			return nil
		}}
		stop, wait := serving(t, gen, h, config())
		time.Sleep(time.Second)
		require.EqualValues(t, 1, gen.at(0), "b is unfinished")
		require.EqualValues(t, 1, gen.at(1))
		require.Len(t, gen.committedCalls(), 1, "both partitions in one call, and no call when nothing moved")
		close(release)
		time.Sleep(time.Second)
		require.EqualValues(t, 4, gen.at(0))
		require.Equal(t, []stream.Assignment{{Topic: "t", Partition: 0, Offset: 4}}, gen.committedCalls()[1])
		stop()
		require.NoError(t, wait())
	})
}

// The log goes on with what nobody handles: the marker of a transaction, or all messages of one that was aborted.
func TestServeCommitsPastWhatNobodyHandles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := with("a", "b").plus()
		g.ends = map[int]int64{0: 5, 1: 7}
		release := make(chan struct{})
		h := &handler{fate: func(_ context.Context, m stream.Message) error {
			if m.Offset == 0 {
				<-release
			}
			return nil
		}}
		stop, wait := serving(t, g, h, config())
		time.Sleep(time.Second)
		require.EqualValues(t, 0, g.at(0), "what was skipped lies behind a message that is not finished")
		require.EqualValues(t, 7, g.at(1))
		close(release)
		time.Sleep(time.Second)
		require.EqualValues(t, 5, g.at(0))
		stop()
		require.NoError(t, wait())
	})
}

func TestServeWindowBoundsWhatASlowKeyHoldsUp(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		limit func(*stream.Config)
	}{
		{"messages", func(c *stream.Config) { c.Window = 3 }},
		{"bytes", func(c *stream.Config) { c.WindowBytes = 6 }}, // "slow" + "v" + one more key and value would be 7
		{"budget bytes", func(c *stream.Config) { c.Budget = stream.NewBudget(9, 6) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				gen := with("slow", "b", "c", "d", "e", "f")
				release := make(chan struct{})
				h := &handler{fate: func(_ context.Context, m stream.Message) error {
					if m.Offset == 0 {
						<-release
					}
					return nil
				}}
				cfg := config()
				tt.limit(&cfg)
				stop, wait := serving(t, gen, h, cfg)
				synctest.Wait()
				require.LessOrEqual(t, len(h.starts()), 3)
				close(release)
				synctest.Wait()
				require.Len(t, h.ends(), 6)
				stop()
				require.NoError(t, wait())
			})
		})
	}
}

func TestServeTakesAMessageBiggerThanEveryLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gen := with("much longer than the window allows", "b")
		cfg := config()
		cfg.WindowBytes = 4
		cfg.Budget = stream.NewBudget(1, 4)
		h := &handler{}
		stop, wait := serving(t, gen, h, cfg)
		synctest.Wait()
		require.Len(t, h.ends(), 2)
		stop()
		require.NoError(t, wait())
	})
}

func TestServeSharesTheBudgetBetweenPartitions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gen := with("a", "b", "c").plus("d", "e", "f")
		release := make(chan struct{})
		h := &handler{fate: func(context.Context, stream.Message) error { <-release; return nil }}
		cfg := config()
		cfg.Budget = stream.NewBudget(3, 1<<20)
		stop, wait := serving(t, gen, h, cfg)
		synctest.Wait()
		require.Len(t, h.starts(), 3)
		release <- struct{}{}
		synctest.Wait()
		require.Len(t, h.starts(), 4)
		close(release)
		synctest.Wait()
		stop()
		require.NoError(t, wait())
		require.Len(t, h.ends(), 6)
	})
}

func TestServeTriesAFailedHandlerAgainWhileItsKeyWaits(t *testing.T) {
	t.Parallel()
	for _, panics := range []bool{false, true} {
		t.Run(fmt.Sprintf("panics %v", panics), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				gen := with("a", "a", "b")
				var tries []time.Duration
				began := time.Now()
				h := &handler{fate: func(_ context.Context, m stream.Message) error {
					if m.Offset != 0 {
						return nil
					}
					tries = append(tries, time.Since(began))
					switch {
					case len(tries) == 4:
						return nil
					case panics:
						panic("secret of the message")
					}
					return errors.New("redis is away")
				}}
				cfg := config()
				panicked := 0
				cfg.Observe.Panicked = func(string) { panicked++ }
				stop, wait := serving(t, gen, h, cfg)
				synctest.Wait()
				require.Equal(t, []string{"0/2"}, h.ends(), "the later message of the key waits, another key does not")
				time.Sleep(time.Second)
				require.Equal(t, []string{"0/2", "0/0", "0/1"}, h.ends())
				require.Equal(t, []time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond, 700 * time.Millisecond}, tries)
				require.Equal(t, panics, panicked == 3)
				stop()
				require.NoError(t, wait())
				require.EqualValues(t, 3, gen.at(0))
			})
		})
	}
}

func TestServeTriesAFailedFetchAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gen := with("a")
		gen.fetchErrs = 3
		h := &handler{}
		stop, wait := serving(t, gen, h, config())
		time.Sleep(699 * time.Millisecond)
		require.Empty(t, h.ends())
		time.Sleep(2 * time.Millisecond)
		require.Len(t, h.ends(), 1)
		stop()
		require.NoError(t, wait())
	})
}

func TestServeHoldsTheHeadUntilItIsDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gen := with("a", "b", "c")
		due := time.Now().Add(time.Minute)
		cfg := config()
		cfg.Due = func(m stream.Message) time.Time {
			if m.Offset == gen.partitions[0][0].Offset {
				return due
			}
			return time.Time{}
		}
		var longest atomic.Int64 // told by one goroutine, read by another
		cfg.Observe.Held = func(_ string, _ int, age time.Duration) { longest.Store(max(longest.Load(), int64(age))) }
		h := &handler{}
		stop, wait := serving(t, gen, h, cfg)
		time.Sleep(time.Minute - time.Millisecond)
		require.Empty(t, h.starts())
		require.Greater(t, time.Duration(longest.Load()), 50*time.Second, "that it is held back is seen")
		time.Sleep(2 * time.Millisecond)
		require.Len(t, h.ends(), 3)
		stop()
		require.NoError(t, wait())
	})
}

func TestServeEndsAtOnceWhileTheHeadIsHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gen := with("a")
		due := time.Now().Add(time.Hour)
		cfg := config()
		cfg.Due = func(stream.Message) time.Time { return due }
		h := &handler{}
		stop, wait := serving(t, gen, h, cfg)
		synctest.Wait()
		began := time.Now()
		stop()
		require.NoError(t, wait())
		require.Zero(t, time.Since(began))
		require.Empty(t, h.starts())
		require.Zero(t, gen.at(0))
	})
}

func TestServeFinishesWhatHasBegunWhenItDrains(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gen := with("a", "b", "b")
		release := make(chan struct{})
		h := &handler{fate: func(ctx context.Context, _ stream.Message) error {
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		stop, wait := serving(t, gen, h, config())
		synctest.Wait()
		stop()
		time.Sleep(2500 * time.Millisecond)
		require.Equal(t, [][]stream.Assignment{{{Topic: "t"}}, {{Topic: "t"}}}, gen.committedCalls(), "commits renew the session while it drains")
		close(release)
		require.NoError(t, wait())
		require.Equal(t, []string{"0/0", "0/1"}, slices.Sorted(slices.Values(h.ends())))
		require.EqualValues(t, 2, gen.at(0))
	})
}

// What nothing has overtaken costs nothing to leave: the next owner meets it for the first time.
func TestServeLeavesWhatHasNotBegun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gen := with("a", "a", "b", "c", "d", "e", "f", "g")
		release := make(chan struct{})
		h := &handler{fate: func(context.Context, stream.Message) error { <-release; return nil }}
		cfg := config()
		cfg.InFlight = 3
		var drained stream.Drain
		cfg.Observe.Drained = func(d stream.Drain) { drained = d }
		stop, wait := serving(t, gen, h, cfg)
		synctest.Wait()
		stop()
		close(release)
		require.NoError(t, wait())
		require.ElementsMatch(t, []string{"0/0", "0/1", "0/2", "0/3"}, h.ends(), "b and c overtook the second a")
		require.EqualValues(t, 4, gen.at(0))
		drained.Took = 0
		require.Equal(t, stream.Drain{Left: 4}, drained)
	})
}

// Within the grace what was overtaken begins; after it nothing does, and who waits for a turn is told.
func TestServeHandsOverOnceTheGraceIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gen := with("a", "a", "a", "b", "c")
		var began time.Time
		told := time.Duration(-1)
		h := &handler{fate: func(ctx context.Context, m stream.Message) error {
			switch string(m.Key) {
			case "a":
				time.Sleep(700 * time.Millisecond)
			case "c":
				select {
				case <-handover.Begun(ctx):
					told = time.Since(began)
					return handover.ErrBegun
				case <-ctx.Done():
				}
			}
			return ctx.Err()
		}}
		cfg := config()
		failed := 0
		cfg.Observe.Handled = func(_ string, _ time.Duration, err error) {
			if err != nil {
				failed++
			}
		}
		stop, wait := serving(t, gen, h, cfg)
		synctest.Wait()
		began = time.Now()
		stop()
		require.NoError(t, wait())
		require.Equal(t, time.Second, told)
		require.Equal(t, 1400*time.Millisecond, time.Since(began), "the second a began within the grace and was finished")
		require.Equal(t, []string{"0/0", "0/1", "0/3"}, slices.Sorted(slices.Values(h.ends())))
		require.EqualValues(t, 2, gen.at(0))
		require.Zero(t, failed, "leaving a message is no failure")
	})
}

// What waited for its key comes before what was handed over since: the commit waits for the lowest offset.
func TestServeRunsTheLowestOffsetFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gen := with("a", "b", "b", "a", "c", "d")
		next := make(chan struct{})
		h := &handler{fate: func(context.Context, stream.Message) error { <-next; return nil }}
		cfg := config()
		cfg.InFlight = 1
		stop, wait := serving(t, gen, h, cfg)
		for range 6 {
			synctest.Wait()
			next <- struct{}{}
		}
		synctest.Wait()
		require.Equal(t, []string{"0/0", "0/1", "0/2", "0/3", "0/4", "0/5"}, h.starts())
		stop()
		require.NoError(t, wait())
	})
}

// A message that waits for a place of the process has not begun.
func TestServeLeavesWhatWaitsForThePlacesOfTheProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gen := with("a").plus("b").plus("c")
		release := make(chan struct{})
		h := &handler{fate: func(context.Context, stream.Message) error { <-release; return nil }}
		cfg := config()
		cfg.Budget = stream.NewBudget(1, 1<<20)
		stop, wait := serving(t, gen, h, cfg)
		synctest.Wait()
		stop()
		close(release)
		require.NoError(t, wait())
		require.Len(t, h.ends(), 1)
		require.EqualValues(t, 1, gen.at(0)+gen.at(1)+gen.at(2))
	})
}

// What a handler heard and could not store is known to nobody else: it is tried again while the drain lasts.
func TestServeTriesAgainWhatOnlyThisProcessKnows(t *testing.T) {
	t.Parallel()
	for _, away := range []time.Duration{2 * time.Second, time.Minute} {
		t.Run(away.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				gen := with("a", "a")
				back := time.Now().Add(away)
				tries := 0
				h := &handler{fate: func(context.Context, stream.Message) error {
					tries++
					switch {
					case time.Now().After(back):
						return nil
					case tries == 1:
						return fmt.Errorf("settle: %w", handover.Unstored(errors.New("redis is away")))
					}
					return errors.New("redis is away")
				}}
				stop, wait := serving(t, gen, h, config())
				synctest.Wait()
				began := time.Now()
				stop()
				require.NoError(t, wait())
				require.LessOrEqual(t, time.Since(began), 5*time.Second)
				require.EqualValues(t, len(h.ends()), gen.at(0))
				require.Equal(t, away < 5*time.Second, len(h.ends()) == 1)
			})
		})
	}
}

func TestServeCancelsHandlersWhenTheDrainBudgetIsUsedUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gen := with("a", "b", "b", "c")
		h := &handler{fate: func(ctx context.Context, m stream.Message) error {
			if string(m.Key) != "b" {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}}
		cfg := config()
		cfg.Budget = stream.NewBudget(4, 1<<20)
		var drained stream.Drain
		cfg.Observe.Drained = func(d stream.Drain) { drained = d }
		stop, wait := serving(t, gen, h, cfg)
		synctest.Wait()
		began := time.Now()
		stop()
		require.NoError(t, wait())
		require.Equal(t, 5*time.Second, time.Since(began))
		require.EqualValues(t, 1, gen.at(0), "nothing from b on")
		require.Equal(t, []string{"0/0", "0/1", "0/3"}, slices.Sorted(slices.Values(h.starts())), "the later b never starts")
		require.Equal(t, stream.Drain{Took: 5 * time.Second, Left: 1, Again: 1, Cut: 1}, drained)

		// All of the budget came back: a message that needs the whole of it still gets through.
		gen = with(string(make([]byte, 1<<20)))
		h = &handler{}
		stop, wait = serving(t, gen, h, cfg)
		synctest.Wait()
		require.Len(t, h.ends(), 1)
		stop()
		require.NoError(t, wait())
	})
}

func TestServeDoesNotTryAgainOnceTheGenerationEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gen := with("a", "a")
		h := &handler{fate: func(context.Context, stream.Message) error { return errors.New("redis is away") }}
		stop, wait := serving(t, gen, h, config())
		time.Sleep(150 * time.Millisecond) // two tries, now waiting for the third
		began := time.Now()
		stop()
		require.NoError(t, wait())
		require.Zero(t, time.Since(began))
		require.Equal(t, []string{"0/0", "0/0"}, h.starts())
		require.Zero(t, gen.at(0))
	})
}

func TestServeTellsOfALastCommitThatFailed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gen := with("a")
		gen.commitErr = errors.New("coordinator is away")
		stop, wait := serving(t, gen, &handler{}, config())
		synctest.Wait()
		stop()
		require.ErrorIs(t, wait(), gen.commitErr)
		require.Len(t, gen.committedCalls(), 3)
	})
}

// What waits for a place is bounded, and what of it nothing has overtaken is left when the generation ends.
func TestServeTakesNoMoreThanMayWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gen := with("a", "b", "a", "c", "d", "e", "f", "g", "h")
		release := make(chan struct{})
		h := &handler{fate: func(context.Context, stream.Message) error { <-release; return nil }}
		cfg := config()
		cfg.InFlight, cfg.Waiting = 2, 3
		var drained stream.Drain
		cfg.Observe.Drained = func(d stream.Drain) { drained = d }
		stop, wait := serving(t, gen, h, cfg)
		synctest.Wait()
		stop()
		close(release)
		require.NoError(t, wait())
		require.ElementsMatch(t, []string{"0/0", "0/1"}, h.ends())
		require.EqualValues(t, 2, gen.at(0))
		require.Equal(t, 3, drained.Left)
	})
}
