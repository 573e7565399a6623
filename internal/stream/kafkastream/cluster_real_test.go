//go:build real

package kafkastream_test

import (
	"bytes"
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"paydispatch/internal/stream"
	"paydispatch/internal/stream/kafkastream"
	"paydispatch/test/realparts"
)

// soon bounds what must happen within seconds, on a machine that is busy.
const soon = 60 * time.Second

// cluster is three real brokers, and who may do everything there.
type cluster struct {
	*realparts.Cluster
	admin *kafkastream.Admin
	raw   *kgo.Client
}

func (c *cluster) open() kafkastream.Config {
	return kafkastream.Config{Brokers: c.Addresses(), ClientID: "real"}
}

// secured is how the user svc comes in, whose password may change.
func (c *cluster) secured(mechanism string, password *secret) kafkastream.Config {
	return kafkastream.Config{
		Brokers: c.Secured(), ClientID: "real",
		SASL: kafkastream.SASL{Mechanism: mechanism, User: "svc", Password: password.get},
	}
}

// secret is a password that can be renewed.
type secret struct {
	mu    sync.Mutex
	value kafkastream.Password
}

func (s *secret) get() (kafkastream.Password, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.value, nil
}

func (s *secret) set(value kafkastream.Password) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.value = value
}

// topic makes one that three brokers hold.
func (c *cluster) topic(t *testing.T, partitions int, settings ...string) string {
	t.Helper()
	name := "real-" + strings.ToLower(rand.Text())
	spec := kafkastream.TopicSpec{Name: name, Partitions: partitions, Replication: 3, Config: map[string]string{}}
	for i := 0; i+1 < len(settings); i += 2 {
		spec.Config[settings[i]] = settings[i+1]
	}
	c.create(t, spec)
	return name
}

// create makes a topic; the machine may be too busy at first.
func (c *cluster) create(t *testing.T, spec kafkastream.TopicSpec) {
	t.Helper()
	require.Eventually(t, func() bool {
		return c.admin.CreateTopics(t.Context(), []kafkastream.TopicSpec{spec}) == nil
	}, soon, 10*time.Millisecond)
}

// config has the timings of a test, and a log that is shown when it fails.
func (c *cluster) config(t *testing.T, group string, conn kafkastream.Config) (kafkastream.ConsumerConfig, *diary) {
	t.Helper()
	cfg, log := consumerConfig(nil, group), &diary{}
	cfg.Config, cfg.Watch, cfg.Stream.Logger = conn, 300*time.Millisecond, slog.New(slog.NewTextHandler(log, nil))
	t.Cleanup(func() {
		if text := log.String(); t.Failed() {
			t.Logf("the log of %s ends with:\n%s", group, text[max(len(text)-20_000, 0):])
		}
	})
	return cfg, log
}

// consume runs a consumer of the cluster as [consume] does.
func (c *cluster) consume(t *testing.T, group string, h stream.Handler, topics ...string) (stop func() error) {
	t.Helper()
	cfg, _ := c.config(t, group, c.open())
	return consume(t, consumer(t, cfg), h, topics...)
}

// request makes a request of another kind, by another client.
func request[T kmsg.Response](t *testing.T, c *cluster, req kmsg.Request) T {
	t.Helper()
	res, err := c.raw.Request(t.Context(), req)
	require.NoError(t, err)
	return res.(T)
}

func (c *cluster) delete(t *testing.T, topic string) {
	t.Helper()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TopicNames = []string{topic}
	of := kmsg.NewDeleteTopicsRequestTopic()
	of.Topic = &topic
	req.Topics = append(req.Topics, of)
	res := request[*kmsg.DeleteTopicsResponse](t, c, req)
	require.Zero(t, res.Topics[0].ErrorCode)
}

func (c *cluster) grow(t *testing.T, topic string, partitions int) {
	t.Helper()
	req := kmsg.NewPtrCreatePartitionsRequest()
	of := kmsg.NewCreatePartitionsRequestTopic()
	of.Topic, of.Count = topic, int32(partitions)
	req.Topics = append(req.Topics, of)
	req.TimeoutMillis = 10_000
	res := request[*kmsg.CreatePartitionsResponse](t, c, req)
	require.Zero(t, res.Topics[0].ErrorCode)
}

// deny takes a right to a topic from svc, who keeps all others.
func (c *cluster) deny(t *testing.T, topic string, what kmsg.ACLOperation) {
	t.Helper()
	c.rule(t, kmsg.ACLResourceTypeTopic, topic, what)
}

// allow gives every right to a topic back.
func (c *cluster) allow(t *testing.T, topic string) {
	t.Helper()
	c.unrule(t, kmsg.ACLResourceTypeTopic, topic)
}

func (c *cluster) rule(t *testing.T, kind kmsg.ACLResourceType, name string, what kmsg.ACLOperation) {
	t.Helper()
	req := kmsg.NewPtrCreateACLsRequest()
	for _, rule := range []struct {
		op  kmsg.ACLOperation
		how kmsg.ACLPermissionType
	}{{kmsg.ACLOperationAll, kmsg.ACLPermissionTypeAllow}, {what, kmsg.ACLPermissionTypeDeny}} {
		acl := kmsg.NewCreateACLsRequestCreation()
		acl.ResourceType, acl.ResourceName, acl.ResourcePatternType = kind, name, kmsg.ACLResourcePatternTypeLiteral
		acl.Principal, acl.Host, acl.Operation, acl.PermissionType = "User:svc", "*", rule.op, rule.how
		req.Creations = append(req.Creations, acl)
	}
	for _, r := range request[*kmsg.CreateACLsResponse](t, c, req).Results {
		require.Zero(t, r.ErrorCode)
	}
}

func (c *cluster) unrule(t *testing.T, kind kmsg.ACLResourceType, name string) {
	t.Helper()
	req := kmsg.NewPtrDeleteACLsRequest()
	f := kmsg.NewDeleteACLsRequestFilter()
	f.ResourceType, f.ResourceName, f.ResourcePatternType = kind, &name, kmsg.ACLResourcePatternTypeLiteral
	f.Operation, f.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
	req.Filters = append(req.Filters, f)
	for _, r := range request[*kmsg.DeleteACLsResponse](t, c, req).Results {
		require.Zero(t, r.ErrorCode)
	}
}

// scram makes or renews the credentials of svc.
func (c *cluster) scram(t *testing.T, password string) {
	t.Helper()
	up := kmsg.NewAlterUserSCRAMCredentialsRequestUpsertion()
	up.Name, up.Mechanism, up.Iterations, up.Salt = "svc", 2, 4096, []byte(rand.Text())
	salted, err := pbkdf2.Key(sha512.New, password, up.Salt, int(up.Iterations), sha512.Size)
	require.NoError(t, err)
	up.SaltedPassword = salted
	req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	req.Upsertions = append(req.Upsertions, up)
	require.Zero(t, request[*kmsg.AlterUserSCRAMCredentialsResponse](t, c, req).Results[0].ErrorCode)
}

// fill publishes the numbers from..to-1.
func (c *cluster) fill(t *testing.T, topic string, from, to int) {
	t.Helper()
	fill(t, c.Addresses(), topic, from, to)
}

// lostTopics is an OnLost hook that keeps what it is told.
type lostTopics struct {
	mu  sync.Mutex
	now map[string]error
	log []string
}

func (l *lostTopics) note(topic string, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now == nil {
		l.now = map[string]error{}
	}
	l.log = append(l.log, fmt.Sprintf("%s: %v", topic, why))
	if l.now[topic] = why; why == nil {
		delete(l.now, topic)
	}
}

func (l *lostTopics) why(topic string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now[topic]
}

// diary is a log that a test may read while it is written.
type diary struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (d *diary) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(p)
}

func (d *diary) count(words string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Count(d.text.String(), words)
}

func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

// TestOnThreeRealBrokers is one test, so that its parts share a cluster, which takes long to start.
//
//nolint:tparallel // the last part breaks what the others need
func TestOnThreeRealBrokers(t *testing.T) {
	t.Parallel()
	c := &cluster{Cluster: realparts.Start(t, realparts.Options{
		Brokers: 3, Users: map[string]string{"svc": "s3cret", "slow": "s3cret"},
		Settings: map[string]string{
			"listener.name.secured.connections.max.reauth.ms": "2000", "connections.max.idle.ms": "5000", "group.max.size": "2",
			"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500", "log.cleaner.backoff.ms": "200",
		},
	})}
	c.admin = admin(t, c.Addresses())
	raw, err := kgo.NewClient(kgo.SeedBrokers(c.Addresses()...), kgo.ConnIdleTimeout(2*time.Second))
	require.NoError(t, err)
	t.Cleanup(raw.Close)
	c.raw = raw
	t.Run("side by side", func(t *testing.T) {
		parts := years()
		maps.Copy(parts, map[string]func(*testing.T, *cluster){
			"a topic is deleted": deleted, "a right is withdrawn": withdrawn, "members serve different topics": different,
			"sessions end": sessionsEnd, "a password is renewed": renewed, "a password is wrong": wrong,
		})
		for name, part := range parts {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				part(t, c)
			})
		}
	})
	t.Run("brokers go and come", func(t *testing.T) { brokersGoAndCome(t, c) })
}

// The others go on, and the topic is taken in again from its start once it is back.
func deleted(t *testing.T, c *cluster) {
	kept, gone := c.topic(t, 2), c.topic(t, 2)
	var lost lostTopics
	cfg, log := c.config(t, kept, c.open())
	cfg.OnLost = lost.note
	all := &collector{}
	stop := consume(t, consumer(t, cfg), all, kept, gone)
	c.fill(t, kept, 0, 10)
	c.fill(t, gone, 100, 110)
	all.await(t, 20)
	c.delete(t, gone)
	require.Eventually(t, func() bool { return lost.why(gone) != nil }, soon, 10*time.Millisecond)
	c.fill(t, kept, 10, 20)
	all.await(t, 30)
	require.Less(t, log.count("generation begins"), 10, "%s", log.String())
	c.create(t, kafkastream.TopicSpec{Name: gone, Partitions: 2, Replication: 3})
	c.fill(t, gone, 110, 115)
	all.await(t, 35)
	require.Eventually(t, func() bool { return lost.why(gone) == nil }, soon, 10*time.Millisecond)
	require.NoError(t, stop())
	got := all.values()
	slices.Sort(got)
	require.Len(t, slices.Compact(got), 35, "%v", got)
}

// Whichever right it is: the others go on, and the topic comes back with the right.
func withdrawn(t *testing.T, c *cluster) {
	kept, shut := c.topic(t, 1), c.topic(t, 1)
	for i, right := range []kmsg.ACLOperation{kmsg.ACLOperationDescribe, kmsg.ACLOperationRead} {
		var lost lostTopics
		cfg, log := c.config(t, kept, c.secured(kafkastream.Plain, &secret{value: "s3cret"}))
		cfg.OnLost = lost.note
		all := &collector{}
		stop := consume(t, consumer(t, cfg), all, kept, shut)
		c.fill(t, shut, 4*i, 4*i+1)
		all.await(t, 1)
		c.deny(t, shut, right)
		c.fill(t, shut, 4*i+1, 4*i+2)
		require.Eventually(t, func() bool { return lost.why(shut) != nil }, soon, 10*time.Millisecond, "%v", right)
		c.fill(t, kept, 4*i+2, 4*i+3)
		require.Eventually(t, func() bool { return slices.Contains(all.values(), fmt.Sprint(4*i+2)) }, soon, 10*time.Millisecond)
		c.allow(t, shut)
		c.fill(t, shut, 4*i+3, 4*i+4)
		require.Eventually(t, func() bool { return slices.Contains(all.values(), fmt.Sprint(4*i+3)) }, soon, 10*time.Millisecond)
		require.Eventually(t, func() bool { return lost.why(shut) == nil }, soon, 10*time.Millisecond)
		require.NoError(t, stop())
		require.Less(t, log.count("generation begins"), 10, "%s", log.String())
		require.Contains(t, all.values(), fmt.Sprint(4*i+1), "what came meanwhile is handled afterwards")
	}
}

// Partitions that are added are served within seconds, whoever leads the group.
func different(t *testing.T, c *cluster) {
	topics := []string{c.topic(t, 1), c.topic(t, 1)}
	all := []*collector{{}, {}}
	for i, topic := range topics {
		c.consume(t, topics[0], all[i], topic)
		c.fill(t, topic, 0, 1)
		all[i].await(t, 1)
	}
	for i, topic := range topics {
		c.grow(t, topic, 3)
		into(t, c, topic, 2, "added")
		require.Eventually(t, func() bool { return slices.Contains(all[i].values(), "added") }, soon, 10*time.Millisecond)
	}
}

// into writes to one partition.
func into(t *testing.T, c *cluster, topic string, partition int32, value string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Addresses()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	defer cl.Close()
	r := &kgo.Record{Topic: topic, Partition: partition, Key: []byte(value), Value: []byte(value)}
	require.NoError(t, cl.ProduceSync(t.Context(), r).FirstErr())
}

// Brokers end each connection that does not authenticate again in time, which kafka-go cannot.
func sessionsEnd(t *testing.T, c *cluster) {
	topic := c.topic(t, 4)
	cfg, log := c.config(t, topic, c.secured(kafkastream.Plain, &secret{value: "s3cret"}))
	var failed atomic.Int64
	cfg.Stream.Observe.CommitFailed = func() { failed.Add(1) }
	cfg.Stream.Observe.FetchFailed = func(string) { failed.Add(1) }
	all := &collector{}
	stop := consume(t, consumer(t, cfg), all, topic)
	p := publisher(t, kafkastream.PublisherConfig{Config: cfg.Config})
	written := 0
	for began := time.Now(); time.Since(began) < 5*time.Second; written++ {
		require.NoError(t, p.Publish(t.Context(), message(topic, fmt.Sprint(written), fmt.Sprint(written))))
		all.await(t, written+1)
	}
	require.NoError(t, stop())
	require.Equal(t, 1, log.count("generation begins"), "%s", log.String())
	require.Zero(t, failed.Load(), "%s", log.String())
	_, after, _ := strings.Cut(log.String(), "generation begins") // the coordinator may just be starting before
	require.NotContains(t, after, "WARN")
	require.Len(t, all.values(), written)
	c.committed(t, topic, int64(written))
}

// committed waits until a group that has a topic's name has committed so much of it.
func (c *cluster) committed(t *testing.T, topic string, want int64) {
	t.Helper()
	require.Eventually(t, func() bool {
		offsets, err := c.admin.Committed(t.Context(), topic, topic)
		var sum int64
		for _, offset := range offsets {
			sum += offset
		}
		return err == nil && sum == want
	}, soon, 10*time.Millisecond)
}

// The new password counts as soon as it is there, without a restart.
func renewed(t *testing.T, c *cluster) {
	topic := c.topic(t, 1)
	c.scram(t, "one")
	password := &secret{value: "one"}
	cfg, log := c.config(t, topic, c.secured(kafkastream.ScramSHA512, password))
	all := &collector{}
	stop := consume(t, consumer(t, cfg), all, topic)
	p := publisher(t, kafkastream.PublisherConfig{Config: cfg.Config})
	require.NoError(t, p.Publish(t.Context(), message(topic, "k", "before")))
	all.await(t, 1)
	c.scram(t, "two")
	require.Eventually(t, func() bool { return log.count("SASL Authentication Failed") > 0 }, soon, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		err := p.Ping(t.Context())
		return err != nil && strings.Contains(err.Error(), "SASL Authentication Failed")
	}, soon, 10*time.Millisecond, "readiness says why")
	password.set("two")
	require.NoError(t, p.Publish(t.Context(), message(topic, "k", "after")))
	all.await(t, 2)
	require.NoError(t, p.Ping(t.Context()))
	require.NoError(t, stop())
}

// Every way in says what is wrong.
func wrong(t *testing.T, c *cluster) {
	for _, mechanism := range []string{kafkastream.Plain, kafkastream.ScramSHA512} {
		everyWayIn(t, c.secured(mechanism, &secret{value: "guess"}), "SASL Authentication Failed")
	}
}

func everyWayIn(t *testing.T, conn kafkastream.Config, says string) {
	t.Helper()
	a, err := kafkastream.NewAdmin(conn)
	require.NoError(t, err)
	defer a.Close()
	require.ErrorContains(t, a.CheckTopics(t.Context(), []string{"t"}), says)
	require.ErrorContains(t, a.CreateTopics(t.Context(), []kafkastream.TopicSpec{{Name: "t", Partitions: 1}}), says)
	_, err = a.Spans(t.Context(), "t")
	require.ErrorContains(t, err, says)
	_, err = a.Committed(t.Context(), "g", "t")
	require.ErrorContains(t, err, says)
	p := publisher(t, kafkastream.PublisherConfig{Config: conn})
	require.ErrorContains(t, p.Ping(t.Context()), says)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	require.ErrorContains(t, p.Publish(ctx, message("t", "k", "v")), says)
}

// traffic publishes numbers, each under one of a few keys, until stopped; it returns how many.
func traffic(t *testing.T, conn kafkastream.Config, topic string) (stop func() int) {
	t.Helper()
	p := publisher(t, kafkastream.PublisherConfig{Config: conn})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() {
		n := 0
		for ctx.Err() == nil {
			if p.Publish(context.WithoutCancel(ctx), message(topic, fmt.Sprint(n%7), fmt.Sprint(n))) == nil {
				n++
			}
		}
		done <- n
	}()
	return func() int {
		cancel()
		return <-done
	}
}

// everything waits until each number below n was handled, and tells the order of each key.
func everything(t *testing.T, all *collector, n int) {
	t.Helper()
	seen := map[string]bool{}
	next := 0
	require.Eventually(t, func() bool {
		got := all.values()
		for ; next < len(got); next++ {
			seen[got[next]] = true
		}
		return len(seen) == n
	}, soon, 10*time.Millisecond, "%d of %d", len(seen), n)
}

// Leaders move, and where too few replicas are left writes wait: nothing that was acknowledged is lost, and nothing waits
// longer than it must.
func brokersGoAndCome(t *testing.T, c *cluster) {
	moving := c.topic(t, 6, "min.insync.replicas", "2")
	short := "real-" + strings.ToLower(rand.Text())
	c.create(t, kafkastream.TopicSpec{
		Name: short, Partitions: 3, Replication: 2, Config: map[string]string{"min.insync.replicas": "2"},
	})
	all, few := &collector{}, &collector{}
	stop, stopFew := c.consume(t, moving, all, moving), c.consume(t, short, few, short)
	p := publisher(t, kafkastream.PublisherConfig{Config: c.open()})
	finish, finishFew := traffic(t, c.open(), moving), traffic(t, c.open(), short)
	more := func(n int) { all.await(t, len(all.values())+n) }
	more(50)
	few.await(t, 50)
	c.Brokers[2].Kill()
	require.Eventually(t, func() bool { return c.inSync(t, short) == 1 }, soon, 10*time.Millisecond)
	written := make(chan error, 1)
	go func() {
		var each []stream.Message
		for i := range 30 {
			each = append(each, message(short, fmt.Sprintf("w%d", i), fmt.Sprintf("w%d", i)))
		}
		written <- p.Publish(context.Background(), each...)
	}()
	more(200)
	require.Empty(t, written, "what one replica alone holds is not acknowledged")
	c.Brokers[2].Start(t)
	require.NoError(t, <-written)
	c.Brokers[0].Stop()
	more(200)
	c.Brokers[0].Start(t)
	everything(t, all, finish())
	everything(t, few, finishFew()+30)
	require.NoError(t, stop())
	require.NoError(t, stopFew())
}

// inSync is the smallest number of replicas that are in sync in a topic.
func (c *cluster) inSync(t *testing.T, topic string) int {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	of := kmsg.NewMetadataRequestTopic()
	of.Topic = &topic
	req.Topics = append(req.Topics, of)
	res, err := c.raw.Request(t.Context(), req)
	if err != nil {
		return -1
	}
	least := 99
	for _, p := range res.(*kmsg.MetadataResponse).Topics[0].Partitions {
		least = min(least, len(p.ISR))
	}
	return least
}
