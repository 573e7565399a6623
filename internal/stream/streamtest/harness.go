package streamtest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/stream"
)

// Harness makes the clients of one log. Its functions are called from parallel tests.
type Harness struct {
	// NewTopic creates a fresh topic.
	NewTopic func(t testing.TB, partitions int) string
	// NewPublisher returns a publisher that refuses messages of TooLarge bytes.
	NewPublisher func(t testing.TB) stream.Publisher
	TooLarge     int
	// NewConsumer returns a member-to-be.
	NewConsumer func(t testing.TB, c Consumer) Runner
	// Committed returns a group's committed offsets in a topic, by partition.
	Committed func(t testing.TB, group, topic string) map[int]int64
	// Deny keeps consumers from looking at a topic, whether it exists or not; nil where the log cannot do so.
	Deny func(t testing.TB, topic string)
}

// Runner is a consumer.
type Runner interface {
	Run(ctx context.Context, h stream.Handler) error
}

// Consumer says what kind of consumer a test wants.
type Consumer struct {
	Group   string
	Topics  []string
	Stream  stream.Config
	Prepare func(ctx context.Context, seenBefore bool) error
	// Witnesses are topics in which anything that was ever written proves that commands were handled before.
	Witnesses []string
	// Cut, once closed, separates the consumer from the log for good: no call of it has an effect any more, and its
	// group forgets it after a while. It is the nearest to killing a process.
	Cut <-chan struct{}
}

// patience bounds how long a test waits for a condition.
const patience = 60 * time.Second

func eventually(t testing.TB, condition func() bool, format string, args ...any) {
	t.Helper()
	require.Eventually(t, condition, patience, 5*time.Millisecond, append([]any{format}, args...)...)
}

// receive waits for a value.
func receive[T any](t testing.TB, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		require.FailNow(t, "waited in vain for "+what)
		panic("unreachable")
	}
}

// member is a consumer that runs.
type member struct {
	cancel context.CancelFunc
	done   chan error
}

// start runs a consumer until stop, or until the test ends.
func (h Harness) start(t testing.TB, c Consumer, handler stream.Handler) *member {
	t.Helper()
	if c.Stream.CommitEvery == 0 {
		c.Stream.CommitEvery = 20 * time.Millisecond
	}
	if c.Stream.RetryMin == 0 {
		c.Stream.RetryMin, c.Stream.RetryMax = 10*time.Millisecond, 100*time.Millisecond
	}
	runner := h.NewConsumer(t, c)
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{cancel: cancel, done: make(chan error, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.done <- runner.Run(ctx, handler)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return m
}

// stop ends the member and waits until it has left.
func (m *member) stop(t testing.TB) {
	t.Helper()
	m.cancel()
	require.NoError(t, receive(t, m.done, "the consumer to stop"))
}

// publish sends messages with keys "key" and values "value" from "key=value" pairs.
func (h Harness) publish(t testing.TB, topic string, keyed ...[2]string) {
	t.Helper()
	var messages []stream.Message
	for _, kv := range keyed {
		messages = append(messages, stream.Message{Topic: topic, Key: []byte(kv[0]), Value: []byte(kv[1])})
	}
	require.NoError(t, h.NewPublisher(t).Publish(t.Context(), messages...))
}

// recorder is a handler that notes what it is given, by value, and watches that a key never overlaps.
type recorder struct {
	// fate, when set, decides what happens; it may block.
	fate func(ctx context.Context, m stream.Message) error

	mu       sync.Mutex
	started  []string
	finished []string
	messages []stream.Message
	inside   map[string]bool
	overlaps []string
}

func (r *recorder) Handle(ctx context.Context, m stream.Message) error {
	key := string(m.Key)
	r.mu.Lock()
	if r.inside == nil {
		r.inside = map[string]bool{}
	}
	if r.inside[key] && key != "" {
		r.overlaps = append(r.overlaps, key)
	}
	r.inside[key] = true
	r.started = append(r.started, string(m.Value))
	r.mu.Unlock()
	var err error
	if r.fate != nil {
		err = r.fate(ctx, m)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inside[key] = false
	if err == nil {
		r.finished = append(r.finished, string(m.Value))
		r.messages = append(r.messages, m)
	}
	return err
}

func (r *recorder) starts() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.started)
}

func (r *recorder) ends() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.finished)
}

func (r *recorder) received() []stream.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.messages)
}

func (r *recorder) overlapped() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.overlaps)
}

// ended waits until so many messages were handled.
func (r *recorder) ended(t testing.TB, n int) {
	t.Helper()
	eventually(t, func() bool { return len(r.ends()) >= n }, "%d messages to be handled", n)
}

func sum(offsets map[int]int64) int64 {
	var n int64
	for _, o := range offsets {
		n += o
	}
	return n
}
