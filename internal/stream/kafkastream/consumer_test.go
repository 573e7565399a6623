package kafkastream_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"paydispatch/internal/stream"
	"paydispatch/internal/stream/kafkastream"
)

// collector is a handler that keeps the values it gets.
type collector struct {
	mu  sync.Mutex
	got []string
}

func (c *collector) Handle(_ context.Context, m stream.Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, string(m.Value))
	return nil
}

func (c *collector) values() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.got...)
}

func (c *collector) await(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(c.values()) >= n }, 60*time.Second, 5*time.Millisecond, "%d messages", n)
}

// consume runs a consumer; stop ends it and returns Run's error.
func consume(t *testing.T, c *kafkastream.Consumer, h stream.Handler, topics ...string) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = c.Run(ctx, topics, h)
	}()
	stop = func() error {
		cancel()
		<-done
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

func fill(t *testing.T, addresses []string, topic string, from, to int) {
	t.Helper()
	p := publisher(t, kafkastream.PublisherConfig{Config: kafkastream.Config{Brokers: addresses}})
	var all []stream.Message
	for i := from; i < to; i++ {
		all = append(all, message(topic, fmt.Sprint(i), fmt.Sprint(i)))
	}
	require.NoError(t, p.Publish(t.Context(), all...))
}

// gaps is an OnGap hook that keeps what it is told.
type gaps struct {
	mu  sync.Mutex
	all []kafkastream.Gap
}

func (g *gaps) add(gap kafkastream.Gap) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all = append(g.all, gap)
}

func TestConsumerRaisesAnAlarmWhenTheLogLostMessages(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		lose func(*testing.T, *kfake.Cluster, []string)
		want kafkastream.Gap
		then []string
	}{
		{
			"retention passed the committed offset",
			func(t *testing.T, c *kfake.Cluster, addresses []string) {
				fill(t, addresses, "t", 5, 10)
				require.NoError(t, c.DeleteRecords("t", 0, 8))
			},
			kafkastream.Gap{Topic: "t", Committed: 5, First: 8, End: 10},
			[]string{"8", "9"},
		},
		{
			"the topic was made anew",
			func(t *testing.T, c *kfake.Cluster, addresses []string) {
				// The group's offset must outlive the topic, as it does when a broker comes back without its log.
				require.NoError(t, c.DeleteRecords("t", 0, 5))
				setCommitted(t, addresses, "g", "t", 50)
				fill(t, addresses, "t", 5, 7)
			},
			kafkastream.Gap{Topic: "t", Committed: 50, First: 5, End: 7},
			[]string{"5", "6"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, addresses := fake(t, kfake.SeedTopics(1, "t"))
			fill(t, addresses, "t", 0, 5)
			before := &collector{}
			stop := consume(t, consumer(t, consumerConfig(addresses, "g")), before, "t")
			before.await(t, 5)
			require.NoError(t, stop())
			tt.lose(t, c, addresses)

			cfg := consumerConfig(addresses, "g")
			g := &gaps{}
			cfg.OnGap = g.add
			then := &collector{}
			stop = consume(t, consumer(t, cfg), then, "t")
			then.await(t, len(tt.then))
			require.NoError(t, stop())
			require.Equal(t, []kafkastream.Gap{tt.want}, g.all)
			require.ElementsMatch(t, tt.then, then.values())
		})
	}
}

// setCommitted stores an offset for a group without members.
func setCommitted(t *testing.T, addresses []string, group, topic string, offset int64) {
	t.Helper()
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	cl := &kafka.Client{Addr: kafka.TCP(addresses...), Transport: transport}
	res, err := cl.OffsetCommit(t.Context(), &kafka.OffsetCommitRequest{
		GroupID: group, GenerationID: -1,
		Topics: map[string][]kafka.OffsetCommit{topic: {{Offset: offset}}},
	})
	require.NoError(t, err)
	require.NoError(t, res.Topics[topic][0].Error)
}

func TestConsumerJoinsAnewWhenTheLogLosesWhatItReadsNext(t *testing.T) {
	t.Parallel()
	c, addresses := fake(t, kfake.SeedTopics(1, "t"))
	fill(t, addresses, "t", 0, 20)
	cfg := consumerConfig(addresses, "g")
	cfg.Stream.Window, cfg.FetchBytes = 1, 1 // one message at a time
	g := &gaps{}
	cfg.OnGap = g.add
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	all := &collector{}
	stop := consume(t, consumer(t, cfg), stream.HandlerFunc(func(ctx context.Context, m stream.Message) error {
		once.Do(func() {
			close(entered)
			<-release
		})
		return all.Handle(ctx, m)
	}), "t")
	<-entered
	fill(t, addresses, "t", 20, 30)
	require.NoError(t, c.DeleteRecords("t", 0, 25))
	close(release)
	require.Eventually(t, func() bool {
		got := all.values()
		return len(got) > 0 && got[len(got)-1] == "29"
	}, 60*time.Second, 5*time.Millisecond)
	require.NoError(t, stop())
	require.Len(t, g.all, 1)
	require.EqualValues(t, 25, g.all[0].First)
}

func TestConsumerNamesEveryMissingTopic(t *testing.T) {
	t.Parallel()
	_, addresses := fake(t, kfake.SeedTopics(1, "here"))
	a := admin(t, addresses)
	require.NoError(t, a.CheckTopics(t.Context(), []string{"here"}))
	err := consumer(t, consumerConfig(addresses, "g")).Run(t.Context(), []string{"gone", "here", "away"}, &collector{})
	require.ErrorIs(t, err, kafkastream.ErrMissingTopics)
	require.ErrorContains(t, err, "away, gone")
	require.NotContains(t, err.Error(), "here")
	require.NoError(t, a.CreateTopics(t.Context(), []kafkastream.TopicSpec{{Name: "here", Partitions: 3}, {Name: "gone", Partitions: 2}}))
	spans, err := a.Spans(t.Context(), "here")
	require.NoError(t, err)
	require.Len(t, spans, 1, "a topic that exists stays as it is")
}

func TestConsumerWaitsForBrokersAndStopsMeanwhile(t *testing.T) {
	t.Parallel()
	c := consumer(t, consumerConfig([]string{fmt.Sprintf("127.0.0.1:%d", freePort(t))}, "g"))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.NoError(t, c.Run(ctx, []string{"t"}, &collector{}))
}

func TestConsumerRefusesTimingsThatCannotWork(t *testing.T) {
	t.Parallel()
	_, err := kafkastream.NewConsumer(kafkastream.ConsumerConfig{
		Config: kafkastream.Config{Brokers: []string{"127.0.0.1:1"}},
		Stream: stream.Config{DrainBudget: 10 * time.Second}, Rebalance: 10 * time.Second, Session: 10 * time.Second,
	})
	require.ErrorContains(t, err, "no consumer group")
	require.ErrorContains(t, err, "drain budget 10s plus heartbeat 1s must be below the rebalance timeout 10s")
	require.ErrorContains(t, err, "rebalance timeout 10s must be below the session timeout 10s")
}

// kafka-go forgets to leave when it is closed while a sync fails, and forgets its id when a join fails.
func TestConsumerLeavesNoGhost(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		fault kfake.Fault
	}{
		{"sync fails with rebalance in progress", kfake.Fault{
			Keys: []kmsg.Key{kmsg.SyncGroup}, Group: "g", Err: kerr.RebalanceInProgress, Count: -1}},
		{"sync fails", kfake.Fault{
			Keys: []kmsg.Key{kmsg.SyncGroup}, Group: "g", Err: kerr.UnknownServerError, Count: -1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, addresses := fake(t, kfake.SeedTopics(1, "t"))
			var open atomic.Int64
			cfg := consumerConfig(addresses, "g")
			cfg.Config.Dial = countOpen(&open)
			f := c.Fault(tt.fault)
			stop := consume(t, consumer(t, cfg), &collector{}, "t")
			require.Eventually(t, func() bool { return f.Hits() > 0 }, 30*time.Second, time.Millisecond)
			require.NoError(t, stop())
			if info := c.GroupInfo("g"); info != nil {
				require.Empty(t, info.Members)
			}
			require.Eventually(t, func() bool { return open.Load() == 0 }, 30*time.Second, 5*time.Millisecond, "connections are released")
		})
	}
}

func TestConsumerJoinsAgainAfterAFailedJoin(t *testing.T) {
	t.Parallel()
	c, addresses := fake(t, kfake.SeedTopics(1, "t"))
	fill(t, addresses, "t", 0, 3)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Group: "g", Err: kerr.CoordinatorLoadInProgress, Count: 2})
	all := &collector{}
	stop := consume(t, consumer(t, consumerConfig(addresses, "g")), all, "t")
	all.await(t, 3)
	require.Len(t, c.GroupInfo("g").Members, 1)
	require.NoError(t, stop())
	require.Empty(t, c.GroupInfo("g").Members)
}

func TestConsumerFollowsTheLeader(t *testing.T) {
	t.Parallel()
	c, addresses := fake(t, kfake.NumBrokers(3), kfake.SeedTopics(1, "t"))
	all := &collector{}
	stop := consume(t, consumer(t, consumerConfig(addresses, "g")), all, "t")
	for i := range 6 {
		fill(t, addresses, "t", i, i+1)
		all.await(t, i+1)
		require.NoError(t, c.MoveTopicPartition("t", 0, (c.LeaderFor("t", 0)+1)%3))
	}
	require.NoError(t, stop())
	require.Equal(t, []string{"0", "1", "2", "3", "4", "5"}, all.values())
}

// Under the name of a topic that a broker does not find there may soon be another one, in which the old offset means
// nothing: committing it would skip what stands below.
func TestConsumerCommitsNothingForATopicThatIsGone(t *testing.T) {
	t.Parallel()
	c, addresses := fake(t, kfake.SeedTopics(1, "t"))
	fill(t, addresses, "t", 0, 5)
	cfg := consumerConfig(addresses, "g")
	cfg.Stream.CommitEvery, cfg.MaxWait = time.Hour, 100*time.Millisecond // only the last commit of a generation
	all := &collector{}
	stop := consume(t, consumer(t, cfg), all, "t")
	all.await(t, 5)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: "t", Err: kerr.UnknownTopicOrPartition, Count: 1})
	all.await(t, 10)
	require.NoError(t, stop())
}

// One look at a broker that is behind says nothing.
func TestConsumerLooksAgainForATopicThatIsMissing(t *testing.T) {
	t.Parallel()
	c, addresses := fake(t, kfake.SeedTopics(1, "t"))
	fill(t, addresses, "t", 0, 1)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "t", Err: kerr.UnknownTopicOrPartition, Count: 1})
	all := &collector{}
	stop := consume(t, consumer(t, consumerConfig(addresses, "g")), all, "t")
	all.await(t, 1)
	require.NoError(t, stop())
}

// The leader of the group may not even see the topic whose partitions became more.
func TestConsumerServesPartitionsThatWereAddedWhoeverLeads(t *testing.T) {
	t.Parallel()
	_, addresses := fake(t, kfake.SeedTopics(1, "one", "other"))
	topics, all := []string{"one", "other"}, []*collector{{}, {}}
	for i, topic := range topics {
		fill(t, addresses, topic, 0, 1)
		cfg := consumerConfig(addresses, "g")
		cfg.Watch = 50 * time.Millisecond
		consume(t, consumer(t, cfg), all[i], topic)
		all[i].await(t, 1)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(addresses...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	defer cl.Close()
	for i, topic := range topics {
		req := kmsg.NewPtrCreatePartitionsRequest()
		of := kmsg.NewCreatePartitionsRequestTopic()
		of.Topic, of.Count = topic, 3
		req.Topics = append(req.Topics, of)
		res, err := req.RequestWith(t.Context(), cl)
		require.NoError(t, err)
		require.Zero(t, res.Topics[0].ErrorCode)
		added := &kgo.Record{Topic: topic, Partition: 2, Value: []byte("added")}
		require.Eventually(t, func() bool { return cl.ProduceSync(t.Context(), added).FirstErr() == nil }, 30*time.Second, 10*time.Millisecond)
		require.Eventually(t, func() bool { return slices.Contains(all[i].values(), "added") }, 30*time.Second, 10*time.Millisecond)
	}
}

func TestConsumerTriesCommitsAndFetchesAgain(t *testing.T) {
	t.Parallel()
	c, addresses := fake(t, kfake.SeedTopics(2, "t"))
	c.Fault(
		kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.CoordinatorLoadInProgress, Count: 3},
		kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.NotLeaderForPartition, Count: 3},
		kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.LeaderNotAvailable, Count: 2},
		kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Err: kerr.CoordinatorLoadInProgress, Count: 3},
	)
	fill(t, addresses, "t", 0, 10)
	all := &collector{}
	cfg := consumerConfig(addresses, "g")
	prepared := 0
	cfg.Prepare = func(_ context.Context, seenBefore bool) error {
		if seenBefore {
			t.Error("nothing was committed before")
		}
		prepared++
		return nil
	}
	stop := consume(t, consumer(t, cfg), all, "t")
	all.await(t, 10)
	require.NoError(t, stop())
	require.Len(t, all.values(), 10)
	offsets, err := admin(t, addresses).Committed(t.Context(), "g", "t")
	require.NoError(t, err)
	require.EqualValues(t, 10, offsets[0]+offsets[1])
	require.Equal(t, 1, prepared)
}

// The markers of transactions arrive as messages in kafka-go.
func TestConsumerSkipsControlRecords(t *testing.T) {
	t.Parallel()
	_, addresses := fake(t, kfake.SeedTopics(1, "t"))
	cl, err := kgo.NewClient(kgo.SeedBrokers(addresses...), kgo.TransactionalID("x"), kgo.DefaultProduceTopic("t"))
	require.NoError(t, err)
	defer cl.Close()
	for i := range 3 {
		require.NoError(t, cl.BeginTransaction())
		require.NoError(t, cl.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprint("tx", i))).FirstErr())
		require.NoError(t, cl.EndTransaction(t.Context(), kgo.TryCommit))
	}
	all := &collector{}
	stop := consume(t, consumer(t, consumerConfig(addresses, "g")), all, "t")
	all.await(t, 3)
	fill(t, addresses, "t", 0, 1)
	all.await(t, 4)
	require.NoError(t, stop())
	require.ElementsMatch(t, []string{"tx0", "tx1", "tx2", "0"}, all.values())
	offsets, err := admin(t, addresses).Committed(t.Context(), "g", "t")
	require.NoError(t, err)
	require.EqualValues(t, 7, offsets[0])
}

func TestConsumerTellsHowFarBehindItIs(t *testing.T) {
	t.Parallel()
	_, addresses := fake(t, kfake.SeedTopics(1, "t"))
	fill(t, addresses, "t", 0, 30)
	cfg := consumerConfig(addresses, "g")
	var last, before atomic.Int64
	last.Store(-1)
	cfg.OnBehind = func(_ string, _ int, n int64) { before.Store(last.Swap(n)) }
	all := &collector{}
	stop := consume(t, consumer(t, cfg), all, "t")
	all.await(t, 30)
	require.Zero(t, last.Load())
	last.Store(7)
	require.NoError(t, stop())
	require.Zero(t, last.Load(), "what waits in a partition that was given up is not told twice")
	require.EqualValues(t, 7, before.Load())
}

func TestConsumerSurvivesABrokerRestart(t *testing.T) {
	t.Parallel()
	opts := []kfake.Opt{kfake.NumBrokers(1), kfake.Ports(freePort(t)), kfake.DataDir(t.TempDir()), kfake.SeedTopics(2, "t")}
	c, err := kfake.NewCluster(opts...)
	require.NoError(t, err)
	addresses := c.ListenAddrs()
	fill(t, addresses, "t", 0, 10)
	all := &collector{}
	stop := consume(t, consumer(t, consumerConfig(addresses, "g")), all, "t")
	all.await(t, 10)
	c.Close()
	require.Eventually(t, func() bool { c, err = kfake.NewCluster(opts...); return err == nil }, 30*time.Second, 50*time.Millisecond)
	t.Cleanup(c.Close)
	fill(t, addresses, "t", 10, 20)
	require.Eventually(t, func() bool {
		seen := map[string]bool{}
		for _, v := range all.values() {
			seen[v] = true
		}
		return len(seen) == 20
	}, 60*time.Second, 5*time.Millisecond, "everything of before and after")
	require.NoError(t, stop())
}

func TestAdminReadsUntilToldToStop(t *testing.T) {
	t.Parallel()
	_, addresses := fake(t, kfake.SeedTopics(1, "t"))
	fill(t, addresses, "t", 0, 3)
	a := admin(t, addresses)
	ctx, cancel := context.WithCancel(t.Context())
	var got []string
	err := a.Read(ctx, "t", 0, 1, func(m stream.Message) bool {
		if got = append(got, string(m.Value)); len(got) == 2 {
			cancel()
		}
		return true
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []string{"1", "2"}, got)
}

// A partition that is left out of the answer is none without a committed offset.
func TestConsumerDoesNotRewindWhenAnAnswerIsIncomplete(t *testing.T) {
	t.Parallel()
	c, addresses := fake(t, kfake.SeedTopics(1, "t"))
	fill(t, addresses, "t", 0, 5)
	before := &collector{}
	stop := consume(t, consumer(t, consumerConfig(addresses, "g")), before, "t")
	before.await(t, 5)
	require.NoError(t, stop())

	fill(t, addresses, "t", 5, 6)
	var left atomic.Int64
	c.ControlKey(int16(kmsg.OffsetFetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if left.Add(1) > 3 {
			return nil, nil, false
		}
		return r.ResponseKind(), nil, true
	})
	then := &collector{}
	stop = consume(t, consumer(t, consumerConfig(addresses, "g")), then, "t")
	then.await(t, 1)
	require.NoError(t, stop())
	require.Positive(t, left.Load())
	require.Equal(t, []string{"5"}, then.values())
}

// A join whose answer is lost must not leave a member behind that no one speaks for; the next rebalance would wait for it.
func TestConsumerLeavesNoGhostOfALostJoin(t *testing.T) {
	t.Parallel()
	c, addresses := fake(t, kfake.SeedTopics(2, "t"))
	patient := func() kafkastream.ConsumerConfig {
		cfg := consumerConfig(addresses, "g")
		cfg.Session, cfg.Rebalance, cfg.Stream.DrainBudget = 4*time.Minute, 3*time.Minute, 2*time.Minute
		return cfg
	}
	fill(t, addresses, "t", 0, 1)
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	stopFirst := consume(t, consumer(t, patient()), stream.HandlerFunc(func(context.Context, stream.Message) error {
		once.Do(func() { close(entered) })
		<-release
		return nil
	}), "t")
	<-entered // the first member is busy, so that a join of the second one has to wait

	cfg := patient()
	cut := make(chan struct{})
	cfg.Config.ClientID = "second"
	flaky := &cable{cut: cut}
	cfg.Config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		select {
		case <-cut: // only the connections of before the cut break
			return (&net.Dialer{}).DialContext(ctx, network, address)
		default:
			return flaky.dial(ctx, network, address)
		}
	}
	all := &collector{}
	stopSecond := consume(t, consumer(t, cfg), all, "t")
	ids := func() (ids []string) {
		for _, m := range c.GroupInfo("g").Members {
			if strings.HasPrefix(m.ClientID, "second") {
				ids = append(ids, m.MemberID)
			}
		}
		return ids
	}
	require.Eventually(t, func() bool { return len(ids()) == 1 }, 30*time.Second, time.Millisecond)
	member := ids()
	close(cut)
	close(release)
	written := 1
	require.Eventually(t, func() bool {
		fill(t, addresses, "t", written, written+10)
		written += 10
		return len(all.values()) > 0
	}, 30*time.Second, 100*time.Millisecond, "both members work")
	require.Equal(t, member, ids())
	require.NoError(t, stopSecond())
	require.NoError(t, stopFirst())
}

// Longer than the grace that a parked join gets at the end: a member that drains must not be taken for a ghost.
func TestConsumerStaysAMemberWhileItDrains(t *testing.T) {
	t.Parallel()
	_, addresses := fake(t, kfake.SeedTopics(1, "t"))
	fill(t, addresses, "t", 0, 1)
	entered := make(chan struct{})
	stop := consume(t, consumer(t, consumerConfig(addresses, "g")), stream.HandlerFunc(func(context.Context, stream.Message) error {
		close(entered)
		<-time.After(2500 * time.Millisecond) // slow work, within the drain budget
		return nil
	}), "t")
	<-entered
	require.NoError(t, stop())
	offsets, err := admin(t, addresses).Committed(t.Context(), "g", "t")
	require.NoError(t, err)
	require.EqualValues(t, 1, offsets[0])
}

// Brokers hang up on connections that were idle for long, as those of a lane that waits for a due time.
func TestReadingGoesOnWhenAnIdleConnectionWasCut(t *testing.T) {
	t.Parallel()
	_, addresses := fake(t, kfake.SeedTopics(1, "t"))
	fill(t, addresses, "t", 0, 1)
	var mu sync.Mutex
	var open []net.Conn
	a, err := kafkastream.NewAdmin(kafkastream.Config{Brokers: addresses, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		mu.Lock()
		defer mu.Unlock()
		open = append(open, conn)
		return conn, err
	}})
	require.NoError(t, err)
	defer a.Close()
	var got []string
	require.NoError(t, a.Read(t.Context(), "t", 0, 0, func(m stream.Message) bool {
		got = append(got, string(m.Value))
		if len(got) == 1 {
			mu.Lock()
			_ = open[len(open)-1].Close()
			mu.Unlock()
			fill(t, addresses, "t", 1, 2)
		}
		return len(got) < 2
	}))
	require.Equal(t, []string{"0", "1"}, got)
}

// A leader that has just been elected may not know the end of its log yet.
func TestConsumerAsksAgainBeforeItBelievesThatTheLogIsShorter(t *testing.T) {
	t.Parallel()
	c, addresses := fake(t, kfake.SeedTopics(1, "t"))
	fill(t, addresses, "t", 0, 5)
	setCommitted(t, addresses, "g", "t", 5)
	var asked atomic.Int64
	c.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := r.(*kmsg.ListOffsetsRequest)
		if req.Topics[0].Partitions[0].Timestamp != -1 || asked.Add(1) > 2 {
			return nil, nil, false
		}
		res := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		partition := kmsg.NewListOffsetsResponseTopicPartition()
		partition.Offset = 3
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic, topic.Partitions = "t", []kmsg.ListOffsetsResponseTopicPartition{partition}
		res.Topics = append(res.Topics, topic)
		return res, nil, true
	})
	cfg := consumerConfig(addresses, "g")
	g := &gaps{}
	cfg.OnGap = g.add
	all := &collector{}
	stop := consume(t, consumer(t, cfg), all, "t")
	fill(t, addresses, "t", 5, 6)
	all.await(t, 1)
	require.NoError(t, stop())
	require.Empty(t, g.all)
	require.Equal(t, []string{"5"}, all.values())
	require.Greater(t, asked.Load(), int64(2))
}
