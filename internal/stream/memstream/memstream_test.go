package memstream_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/stream"
	"paydispatch/internal/stream/memstream"
	"paydispatch/internal/stream/streamtest"
)

var errCut = errors.New("cut off")

func TestSuite(t *testing.T) {
	t.Parallel()
	b := memstream.NewBroker()
	b.LimitMessages(1 << 20)
	var named atomic.Int64
	streamtest.Run(t, streamtest.Harness{
		TooLarge: 2 << 20,
		NewTopic: func(_ testing.TB, partitions int) string {
			name := fmt.Sprintf("topic-%d", named.Add(1))
			b.CreateTopic(name, partitions)
			return name
		},
		NewPublisher: func(testing.TB) stream.Publisher { return b.Publisher(memstream.Gates{}) },
		NewConsumer: func(_ testing.TB, c streamtest.Consumer) streamtest.Runner {
			member := fmt.Sprintf("m%d", named.Add(1))
			cut := func(context.Context, string) error {
				select {
				case <-c.Cut:
					b.Expel(c.Group, member)
					return errCut
				default:
					return nil
				}
			}
			if c.Cut == nil {
				cut = nil
			}
			return b.Consumer(c.Group, c.Topics, memstream.ConsumerConfig{
				Member: member, Stream: c.Stream, Prepare: c.Prepare, Witnesses: c.Witnesses, Gates: memstream.Gates{Before: cut},
			})
		},
		Committed: func(_ testing.TB, group, topic string) map[int]int64 { return b.Committed(group)[topic] },
		Deny:      func(_ testing.TB, topic string) { b.Deny(topic) },
	})
}

// running starts a consumer in the bubble and returns what ends it and waits for its end.
func running(t *testing.T, c *memstream.Consumer, h stream.Handler) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, h) }()
	return func() error {
		cancel()
		return <-done
	}
}

func counting(n *atomic.Int64) stream.Handler {
	return stream.HandlerFunc(func(context.Context, stream.Message) error { n.Add(1); return nil })
}

func fill(t *testing.T, b *memstream.Broker, topic string, n int) {
	t.Helper()
	for i := range n {
		require.NoError(t, b.Publisher(memstream.Gates{}).Publish(t.Context(),
			stream.Message{Topic: topic, Key: fmt.Append(nil, i), Value: []byte("v")}))
	}
}

func TestExpelledMemberCannotCommitAndJoinsAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := memstream.NewBroker()
		b.CreateTopic("t", 1)
		fill(t, b, "t", 1)
		var mu sync.Mutex
		var commits []error
		handled := make(chan struct{}, 8)
		block := make(chan struct{})
		stop := running(t, b.Consumer("g", []string{"t"}, memstream.ConsumerConfig{Member: "m", Gates: memstream.Gates{
			After: func(_ context.Context, op string) error {
				mu.Lock()
				defer mu.Unlock()
				commits = append(commits, nil)
				return nil
			},
		}}), stream.HandlerFunc(func(context.Context, stream.Message) error {
			handled <- struct{}{}
			<-block
			return nil
		}))
		<-handled
		require.True(t, b.Expel("g", "m"))
		require.False(t, b.Expel("g", "nobody"))
		close(block)
		<-handled // its commit was refused, so the message comes again when it has joined anew
		synctest.Wait()
		require.Equal(t, []string{"m"}, b.Members("g"))
		require.NoError(t, stop())
		require.EqualValues(t, 1, b.Committed("g")["t"][0])
		require.Empty(t, b.Members("g"))
		require.Len(t, commits, 2, "the start, and the end by the second generation")
	})
}

func TestRebalanceGoesOnWithoutAGhost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := memstream.NewBroker()
		b.CreateTopic("t", 2)
		fill(t, b, "t", 10)
		var killed atomic.Bool
		die := func(context.Context, string) error {
			if killed.Load() {
				return errCut
			}
			return nil
		}
		var n atomic.Int64
		stopGhost := running(t, b.Consumer("g", []string{"t"}, memstream.ConsumerConfig{
			Member: "ghost", Gates: memstream.Gates{Before: die}, Stream: stream.Config{CommitEvery: time.Hour},
		}), counting(&n))
		synctest.Wait()
		killed.Store(true)
		require.NoError(t, stopGhost())
		require.Equal(t, []string{"ghost"}, b.Members("g"))
		require.Zero(t, b.Committed("g")["t"][0]+b.Committed("g")["t"][1], "only the starts")

		began := time.Now()
		stop := running(t, b.Consumer("g", []string{"t"}, memstream.ConsumerConfig{Member: "heir"}), counting(&n))
		time.Sleep(memstream.RebalanceTimeout + time.Millisecond)
		synctest.Wait()
		require.EqualValues(t, 20, n.Load(), "everything again, %v after", time.Since(began))
		require.Equal(t, []string{"heir"}, b.Members("g"))
		require.NoError(t, stop())
	})
}

func TestMemberOfTheSameNameTakesThePlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := memstream.NewBroker()
		b.CreateTopic("t", 1)
		var n atomic.Int64
		done := make(chan error, 1)
		go func() {
			done <- b.Consumer("g", []string{"t"}, memstream.ConsumerConfig{Member: "m"}).Run(t.Context(), counting(&n))
		}()
		synctest.Wait()
		stop := running(t, b.Consumer("g", []string{"t"}, memstream.ConsumerConfig{Member: "m"}), counting(&n))
		require.ErrorIs(t, <-done, memstream.ErrFenced)
		fill(t, b, "t", 3)
		synctest.Wait()
		require.EqualValues(t, 3, n.Load())
		require.NoError(t, stop())
	})
}

func TestGatesRefuseAndConfirmFalsely(t *testing.T) {
	t.Parallel()
	b := memstream.NewBroker()
	b.CreateTopic("t", 1)
	var ops []string
	refuse := func(_ context.Context, op string) error { ops = append(ops, op); return errCut }
	m := stream.Message{Topic: "t", Key: []byte("k")}
	require.ErrorIs(t, b.Publisher(memstream.Gates{Before: refuse}).Publish(t.Context(), m, m), errCut)
	require.Empty(t, b.Messages("t"))
	require.ErrorIs(t, b.Publisher(memstream.Gates{After: refuse}).Publish(t.Context(), m), errCut)
	require.Len(t, b.Messages("t"), 1)
	require.Equal(t, []string{"publish t k,t k", "publish t k"}, ops)
}

func TestUnknownTopicsAreRefused(t *testing.T) {
	t.Parallel()
	b := memstream.NewBroker()
	require.ErrorIs(t, b.Publisher(memstream.Gates{}).Publish(t.Context(), stream.Message{Topic: "t"}), memstream.ErrUnknownTopic)
	c := b.Consumer("g", []string{"t"}, memstream.ConsumerConfig{})
	require.ErrorIs(t, c.Run(t.Context(), counting(new(atomic.Int64))), memstream.ErrUnknownTopic)
}

func TestMessagesAreCopies(t *testing.T) {
	t.Parallel()
	b := memstream.NewBroker()
	b.CreateTopic("t", 1)
	value := []byte("abc")
	require.NoError(t, b.Publisher(memstream.Gates{}).Publish(t.Context(), stream.Message{Topic: "t", Value: value}))
	value[0] = 'X'
	b.Messages("t")[0].Value[1] = 'X'
	require.Equal(t, "abc", string(b.Messages("t")[0].Value))
	require.EqualValues(t, 1, b.End("t", 0))
}
