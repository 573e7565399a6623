//go:build real

package kafkastream_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"paydispatch/internal/stream"
	"paydispatch/internal/stream/kafkastream"
)

// years are what a consumer meets in years of running, as the issues of Kafka's clients tell.
func years() map[string]func(*testing.T, *cluster) {
	return map[string]func(*testing.T, *cluster){
		"a topic is made anew at once":             madeAnew,
		"records are deleted":                      recordsDeleted,
		"a member is expelled":                     expelled,
		"the group is full":                        full,
		"a member of another kind leads":           stranger,
		"another kind of consumer has the group":   incompatible,
		"a member of the version before":           versionBefore,
		"every codec, and a batch above the limit": codecs,
		"connections idle for long":                idle,
		"a producer dies inside of a transaction":  hanging,
		"compaction leaves holes":                  compacted,
		"odd messages":                             odd,
		"replicas move":                            replicasMove,
		"the right to the group is withdrawn":      groupWithdrawn,
		"brokers slow a client down":               throttled,
		"timings that brokers refuse":              refusedTimings,
		"a message above the topic's limit":        tooLarge,
	}
}

// The old offset lies inside of the new topic: what stands below it must not be skipped.
func madeAnew(t *testing.T, c *cluster) {
	topic := c.topic(t, 1)
	all := &collector{}
	stop := c.consume(t, topic, all, topic)
	c.fill(t, topic, 0, 20)
	all.await(t, 20)
	c.delete(t, topic)
	c.create(t, kafkastream.TopicSpec{Name: topic, Partitions: 1, Replication: 3})
	c.fill(t, topic, 100, 150)
	require.Eventually(t, func() bool {
		got := all.values()
		for i := 100; i < 150; i++ {
			if !slices.Contains(got, fmt.Sprint(i)) {
				return false
			}
		}
		return true
	}, soon, 10*time.Millisecond)
	require.NoError(t, stop())
}

func recordsDeleted(t *testing.T, c *cluster) {
	topic := c.topic(t, 1)
	c.fill(t, topic, 0, 5)
	all := &collector{}
	stop := c.consume(t, topic, all, topic)
	all.await(t, 5)
	require.NoError(t, stop())
	c.fill(t, topic, 5, 20)
	req := kmsg.NewPtrDeleteRecordsRequest()
	of := kmsg.NewDeleteRecordsRequestTopic()
	of.Topic, of.Partitions = topic, []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: 12}}
	req.Topics, req.TimeoutMillis = append(req.Topics, of), 10_000
	for _, shard := range c.raw.RequestSharded(t.Context(), req) {
		require.NoError(t, shard.Err)
	}
	cfg, _ := c.config(t, topic, c.open())
	g := &gaps{}
	cfg.OnGap = g.add
	stop = consume(t, consumer(t, cfg), all, topic)
	all.await(t, 13)
	require.NoError(t, stop())
	require.Equal(t, []kafkastream.Gap{{Topic: topic, Committed: 5, First: 12, End: 20}}, g.all)
}

// members are the ids in a group, once it has settled.
func (c *cluster) members(t *testing.T, group string) (ids []string) {
	t.Helper()
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{group}
	res, err := req.RequestWith(t.Context(), c.raw)
	if err != nil {
		return nil // the coordinator is moving; the caller asks again
	}
	for _, g := range res.Groups {
		if g.State != "Stable" {
			return nil
		}
		for _, m := range g.Members {
			ids = append(ids, m.MemberID)
		}
	}
	return ids
}

func expelled(t *testing.T, c *cluster) {
	topic := c.topic(t, 1)
	all := &collector{}
	stop := c.consume(t, topic, all, topic)
	c.fill(t, topic, 0, 1)
	all.await(t, 1)
	var before []string
	require.Eventually(t, func() bool { before = c.members(t, topic); return len(before) == 1 }, soon, 10*time.Millisecond)
	req := kmsg.NewPtrLeaveGroupRequest()
	of := kmsg.NewLeaveGroupRequestMember()
	req.Group, of.MemberID = topic, before[0]
	req.Members = append(req.Members, of)
	require.Zero(t, request[*kmsg.LeaveGroupResponse](t, c, req).ErrorCode)
	c.fill(t, topic, 1, 2)
	require.Eventually(t, func() bool { return slices.Contains(all.values(), "1") }, soon, 10*time.Millisecond)
	require.Eventually(t, func() bool { now := c.members(t, topic); return len(now) == 1 && now[0] != before[0] }, soon, 10*time.Millisecond)
	require.NoError(t, stop())
	require.Empty(t, c.members(t, topic))
}

// outsideOf is an OnGroup hook that keeps the last word.
type outsideOf struct{ atomic.Value }

func (o *outsideOf) note(why error) {
	if why == nil {
		o.Store("")
	} else {
		o.Store(why.Error())
	}
}

func (o *outsideOf) says(words string) func() bool {
	return func() bool {
		said, ok := o.Load().(string)
		return ok && (said == words || words != "" && strings.Contains(said, words))
	}
}

func full(t *testing.T, c *cluster) {
	topic := c.topic(t, 3)
	var stops []func() error
	for range 2 {
		stops = append(stops, c.consume(t, topic, &collector{}, topic))
	}
	require.Eventually(t, func() bool { return len(c.members(t, topic)) == 2 }, soon, 10*time.Millisecond)
	cfg, _ := c.config(t, topic, c.open())
	var o outsideOf
	cfg.OnGroup = o.note
	all := &collector{}
	stop := consume(t, consumer(t, cfg), all, topic)
	require.Eventually(t, o.says("[81]"), soon, 10*time.Millisecond)
	require.NoError(t, stops[0]())
	require.Eventually(t, o.says(""), soon, 10*time.Millisecond)
	require.NoError(t, stops[1]())
	c.fill(t, topic, 0, 9)
	all.await(t, 9)
	require.NoError(t, stop())
}

// foreign is a member of the group by another client.
func (c *cluster) foreign(t *testing.T, group string, how kgo.GroupBalancer) (got *collector, stop func()) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Addresses()...), kgo.ConsumerGroup(group), kgo.ConsumeTopics(group),
		kgo.Balancers(how), kgo.SessionTimeout(6*time.Second), kgo.RebalanceTimeout(5*time.Second),
		kgo.HeartbeatInterval(200*time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(t, err)
	got = &collector{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				_ = got.Handle(ctx, stream.Message{Value: r.Value})
			})
		}
	}()
	stop = func() {
		cancel()
		<-done
		cl.Close()
	}
	t.Cleanup(stop)
	return got, stop
}

// Each gets its share, whoever leads: the stranger tells no sizes, and does not read ours.
func stranger(t *testing.T, c *cluster) {
	topic := c.topic(t, 2)
	theirs, leave := c.foreign(t, topic, kgo.RangeBalancer())
	c.fill(t, topic, 0, 1)
	theirs.await(t, 1)
	ours := &collector{}
	stop := c.consume(t, topic, ours, topic)
	for i := int32(1); len(ours.values()) == 0 || len(theirs.values()) == 1; i++ {
		into(t, c, topic, i%2, fmt.Sprint(i))
	}
	leave() // and now we lead
	again, leaveAgain := c.foreign(t, topic, kgo.RangeBalancer())
	for i := int32(1000); len(again.values()) == 0; i++ {
		into(t, c, topic, i%2, fmt.Sprint(i))
	}
	leaveAgain()
	require.NoError(t, stop())
}

func incompatible(t *testing.T, c *cluster) {
	topic := c.topic(t, 1)
	theirs, leave := c.foreign(t, topic, kgo.CooperativeStickyBalancer())
	c.fill(t, topic, 0, 1)
	theirs.await(t, 1)
	cfg, _ := c.config(t, topic, c.open())
	var o outsideOf
	cfg.OnGroup = o.note
	all := &collector{}
	stop := consume(t, consumer(t, cfg), all, topic)
	require.Eventually(t, o.says("Inconsistent Group Protocol"), soon, 10*time.Millisecond)
	leave()
	require.Eventually(t, o.says(""), soon, 10*time.Millisecond)
	c.fill(t, topic, 1, 2)
	require.Eventually(t, func() bool { return slices.Contains(all.values(), "1") }, soon, 10*time.Millisecond)
	require.NoError(t, stop())
}

// A roll-out has both: kafka-go's own members were there before. Either may lead.
func versionBefore(t *testing.T, c *cluster) {
	topic := c.topic(t, 2)
	old := func() (share chan int, stop func()) {
		g, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
			ID: topic, Brokers: c.Addresses(), Topics: []string{topic}, HeartbeatInterval: 200 * time.Millisecond,
			SessionTimeout: 6 * time.Second, RebalanceTimeout: 5 * time.Second, JoinGroupBackoff: 200 * time.Millisecond,
		})
		require.NoError(t, err)
		share = make(chan int, 1000)
		go func() {
			for {
				gen, err := g.Next(context.Background())
				switch {
				case err == kafka.ErrGroupClosed: //nolint:errorlint // as the library says
					return
				case err != nil:
					share <- -1
				default:
					share <- len(gen.Assignments[topic])
				}
			}
		}()
		return share, func() { _ = g.Close() }
	}
	until := func(share chan int, want int) {
		for got := range share {
			require.GreaterOrEqual(t, got, 0, "an old member understands what a new one tells")
			if got == want {
				return
			}
		}
	}
	share, leave := old()
	until(share, 2) // it leads
	ours := &collector{}
	stop := c.consume(t, topic, ours, topic)
	until(share, 1)
	leave() // now we lead
	share, leave = old()
	until(share, 1)
	leave()
	c.fill(t, topic, 0, 20)
	ours.await(t, 20)
	require.NoError(t, stop())
}

func codecs(t *testing.T, c *cluster) {
	topic := c.topic(t, 1, "max.message.bytes", "3000000")
	big := strings.Repeat("x", 700_000)
	var want []string
	for i, codec := range []kgo.CompressionCodec{
		kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(),
	} {
		cl, err := kgo.NewClient(kgo.SeedBrokers(c.Addresses()...), kgo.ProducerBatchCompression(codec),
			kgo.ProducerBatchMaxBytes(2_000_000))
		require.NoError(t, err)
		var each []*kgo.Record
		for j := range 3 {
			value := fmt.Sprint(i, "-", j, big)
			want = append(want, value)
			each = append(each, &kgo.Record{Topic: topic, Value: []byte(value)})
		}
		require.NoError(t, cl.ProduceSync(t.Context(), each...).FirstErr())
		cl.Close()
	}
	cfg, _ := c.config(t, topic, c.open())
	cfg.FetchBytes = 1000
	all := &collector{}
	stop := consume(t, consumer(t, cfg), all, topic)
	all.await(t, len(want))
	require.NoError(t, stop())
	require.ElementsMatch(t, want, all.values())
}

// Brokers cut them after a while.
func idle(t *testing.T, c *cluster) {
	topic := c.topic(t, 2)
	cfg, log := c.config(t, topic, c.open())
	cfg.MaxWait = 6 * time.Second // longer than brokers bear: the poll itself is idle
	all := &collector{}
	stop := consume(t, consumer(t, cfg), all, topic)
	p := publisher(t, kafkastream.PublisherConfig{Config: c.open()})
	for i := range 3 {
		require.NoError(t, p.Publish(t.Context(), message(topic, fmt.Sprint(i), fmt.Sprint(i))))
		all.await(t, i+1)
		if i == 1 {
			<-time.After(7 * time.Second)
		}
	}
	require.NoError(t, stop())
	require.Equal(t, 1, log.count("generation begins"))
	require.Len(t, all.values(), 3)
}

func hanging(t *testing.T, c *cluster) {
	topic := c.topic(t, 1)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Addresses()...), kgo.TransactionalID(topic), kgo.DefaultProduceTopic(topic),
		kgo.TransactionTimeout(2*time.Second))
	require.NoError(t, err)
	defer cl.Close()
	require.NoError(t, cl.BeginTransaction())
	require.NoError(t, cl.ProduceSync(t.Context(), kgo.StringRecord("never")).FirstErr())
	c.fill(t, topic, 0, 3)
	cfg, _ := c.config(t, topic, c.open())
	var most atomic.Int64
	cfg.OnBehind = func(_ string, _ int, n int64) { most.Store(max(most.Load(), n)) }
	all := &collector{}
	stop := consume(t, consumer(t, cfg), all, topic)
	require.Eventually(t, func() bool { return most.Load() == 4 }, soon, 10*time.Millisecond)
	all.await(t, 3) // the brokers abort it by themselves
	c.committed(t, topic, 5)
	require.NoError(t, stop())
	require.ElementsMatch(t, []string{"0", "1", "2"}, all.values())
}

func compacted(t *testing.T, c *cluster) {
	topic := c.topic(t, 1, "cleanup.policy", "compact", "min.cleanable.dirty.ratio", "0.001", "segment.ms", "300",
		"min.compaction.lag.ms", "0", "max.compaction.lag.ms", "500", "delete.retention.ms", "0")
	for range 6 {
		c.fill(t, topic, 0, 20)
	}
	left := func() (n int) {
		cl, err := kgo.NewClient(kgo.SeedBrokers(c.Addresses()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		require.NoError(t, err)
		defer cl.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		for ctx.Err() == nil {
			n += cl.PollFetches(ctx).NumRecords()
		}
		return n
	}
	require.Eventually(t, func() bool {
		c.fill(t, topic, 0, 1) // a segment is closed by the next write
		return left() < 100
	}, soon, 300*time.Millisecond)
	var spans []kafkastream.Span
	require.Eventually(t, func() bool { // a broker that swaps segments may not say just now
		var err error
		spans, err = c.admin.Spans(t.Context(), topic)
		return err == nil
	}, soon, 10*time.Millisecond)
	all := &collector{}
	stop := c.consume(t, topic, all, topic)
	c.committed(t, topic, spans[0].End)
	require.NoError(t, stop())
	got := all.values()
	slices.Sort(got)
	require.Len(t, slices.Compact(got), 20)
}

func odd(t *testing.T, c *cluster) {
	topic := c.topic(t, 1, "message.timestamp.type", "LogAppendTime")
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Addresses()...))
	require.NoError(t, err)
	defer cl.Close()
	require.NoError(t, cl.ProduceSync(t.Context(),
		&kgo.Record{Topic: topic},
		&kgo.Record{Topic: topic, Key: []byte{}, Value: []byte{}},
		&kgo.Record{Topic: topic, Key: []byte("k"), Headers: []kgo.RecordHeader{{Key: "a"}, {Key: "a", Value: []byte("2")}, {Key: ""}}},
		&kgo.Record{Topic: topic, Value: []byte("last"), Timestamp: time.UnixMilli(1)},
	).FirstErr())
	var got []stream.Message
	require.NoError(t, c.admin.Read(t.Context(), topic, 0, 0, func(m stream.Message) bool {
		got = append(got, m)
		return len(got) < 4
	}))
	require.Nil(t, got[0].Value)
	require.Nil(t, got[0].Key)
	require.Len(t, got[2].Headers, 3)
	value, ok := got[2].Header("a")
	require.True(t, ok)
	require.Equal(t, "2", string(value))
	require.Equal(t, "last", string(got[3].Value))
	require.Equal(t, time.UnixMilli(1), got[3].Time, "kafka-go hides the time of the broker")
}

func replicasMove(t *testing.T, c *cluster) {
	name := c.topic(t, 1)
	all := &collector{}
	stop := c.consume(t, name, all, name)
	finish := traffic(t, c.open(), name)
	for _, replicas := range [][]int32{{1}, {2}, {3}} {
		all.await(t, len(all.values())+30)
		req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		of := kmsg.NewAlterPartitionAssignmentsRequestTopic()
		of.Topic = name
		p := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		p.Replicas = replicas
		of.Partitions = append(of.Partitions, p)
		req.Topics, req.TimeoutMillis = append(req.Topics, of), 10_000
		require.Zero(t, request[*kmsg.AlterPartitionAssignmentsResponse](t, c, req).ErrorCode)
	}
	all.await(t, len(all.values())+30)
	everything(t, all, finish())
	require.NoError(t, stop())
}

func groupWithdrawn(t *testing.T, c *cluster) {
	topic := c.topic(t, 1)
	cfg, _ := c.config(t, topic, c.secured(kafkastream.Plain, &secret{value: "s3cret"}))
	var o outsideOf
	cfg.OnGroup = o.note
	all := &collector{}
	stop := consume(t, consumer(t, cfg), all, topic)
	c.fill(t, topic, 0, 1)
	all.await(t, 1)
	c.rule(t, kmsg.ACLResourceTypeGroup, topic, kmsg.ACLOperationRead)
	require.Eventually(t, o.says("Group Authorization Failed"), soon, 10*time.Millisecond)
	c.unrule(t, kmsg.ACLResourceTypeGroup, topic)
	c.fill(t, topic, 1, 2)
	require.Eventually(t, func() bool { return slices.Contains(all.values(), "1") }, soon, 10*time.Millisecond)
	require.Eventually(t, o.says(""), soon, 10*time.Millisecond)
	require.NoError(t, stop())
}

func throttled(t *testing.T, c *cluster) {
	topic := c.topic(t, 1)
	quota := func(remove bool) {
		req := kmsg.NewPtrAlterClientQuotasRequest()
		entry := kmsg.NewAlterClientQuotasRequestEntry()
		user := "slow"
		entry.Entity = []kmsg.AlterClientQuotasRequestEntryEntity{{Type: "user", Name: &user}}
		entry.Ops = []kmsg.AlterClientQuotasRequestEntryOp{{Key: "consumer_byte_rate", Value: 20_000, Remove: remove}}
		req.Entries = append(req.Entries, entry)
		require.Zero(t, request[*kmsg.AlterClientQuotasResponse](t, c, req).Entries[0].ErrorCode)
	}
	quota(false)
	defer quota(true)
	conn := c.secured(kafkastream.Plain, &secret{value: "s3cret"})
	conn.SASL.User = "slow"
	cfg, _ := c.config(t, topic, conn)
	cfg.FetchBytes = 10_000
	var failed atomic.Int64
	cfg.Stream.Observe.FetchFailed = func(string) { failed.Add(1) }
	all := &collector{}
	for i := range 10 {
		into(t, c, topic, 0, fmt.Sprint(i, strings.Repeat("x", 5_000)))
	}
	stop := consume(t, consumer(t, cfg), all, topic)
	all.await(t, 10)
	require.NoError(t, stop())
	require.Zero(t, failed.Load())
}

func refusedTimings(t *testing.T, c *cluster) {
	topic := c.topic(t, 1)
	cfg, _ := c.config(t, topic, c.open())
	cfg.Session = 2 * time.Hour
	var o outsideOf
	cfg.OnGroup = o.note
	stop := consume(t, consumer(t, cfg), &collector{}, topic)
	require.Eventually(t, o.says("Invalid Session Timeout"), soon, 10*time.Millisecond)
	require.NoError(t, stop())
}

func tooLarge(t *testing.T, c *cluster) {
	topic := c.topic(t, 1, "max.message.bytes", "1000")
	p := publisher(t, kafkastream.PublisherConfig{Config: c.open()})
	err := p.Publish(t.Context(), message(topic, "a", "fits"), message(topic, "a", strings.Repeat("x", 5_000)))
	require.ErrorIs(t, err, stream.ErrTooLarge)
	require.NoError(t, p.Publish(t.Context(), message(topic, "a", "fits too")))
}
