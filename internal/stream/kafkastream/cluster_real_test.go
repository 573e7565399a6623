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
	"slices"
	"strings"
	"sync"
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
	require.NoError(t, c.admin.CreateTopics(t.Context(), []kafkastream.TopicSpec{spec}))
	return name
}

// config has timings of a test; a coordinator may take its time to move.
func (c *cluster) config(group string, conn kafkastream.Config) kafkastream.ConsumerConfig {
	cfg := consumerConfig(nil, group)
	cfg.Config = conn
	cfg.Watch = 300 * time.Millisecond
	return cfg
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
	req := kmsg.NewPtrCreateACLsRequest()
	for _, rule := range []struct {
		op  kmsg.ACLOperation
		how kmsg.ACLPermissionType
	}{{kmsg.ACLOperationAll, kmsg.ACLPermissionTypeAllow}, {what, kmsg.ACLPermissionTypeDeny}} {
		acl := kmsg.NewCreateACLsRequestCreation()
		acl.ResourceType, acl.ResourceName, acl.ResourcePatternType = kmsg.ACLResourceTypeTopic, topic, kmsg.ACLResourcePatternTypeLiteral
		acl.Principal, acl.Host, acl.Operation, acl.PermissionType = "User:svc", "*", rule.op, rule.how
		req.Creations = append(req.Creations, acl)
	}
	for _, r := range request[*kmsg.CreateACLsResponse](t, c, req).Results {
		require.Zero(t, r.ErrorCode)
	}
}

// allow gives every right to a topic back.
func (c *cluster) allow(t *testing.T, topic string) {
	t.Helper()
	req := kmsg.NewPtrDeleteACLsRequest()
	f := kmsg.NewDeleteACLsRequestFilter()
	f.ResourceType, f.ResourceName, f.ResourcePatternType = kmsg.ACLResourceTypeTopic, &topic, kmsg.ACLResourcePatternTypeLiteral
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
func TestOnThreeRealBrokers(t *testing.T) {
	t.Parallel()
	c := &cluster{Cluster: realparts.Start(t, realparts.Options{
		Brokers: 3, Users: map[string]string{"svc": "s3cret"},
		Settings: map[string]string{"listener.name.secured.connections.max.reauth.ms": "2000"},
	})}
	c.admin = admin(t, c.Addresses())
	raw, err := kgo.NewClient(kgo.SeedBrokers(c.Addresses()...))
	require.NoError(t, err)
	t.Cleanup(raw.Close)
	c.raw = raw
	for _, part := range []struct {
		name string
		run  func(*testing.T, *cluster)
	}{
		{"a topic is deleted", deleted},
	} {
		t.Run(part.name, func(t *testing.T) {
			began := time.Now()
			part.run(t, c)
			t.Logf("took %v", time.Since(began))
		})
	}
}

// The others go on, and the topic is taken in again from its start once it is back.
func deleted(t *testing.T, c *cluster) {
	kept, gone := c.topic(t, 2), c.topic(t, 2)
	var log diary
	var lost lostTopics
	cfg := c.config(kept, c.open())
	cfg.OnLost, cfg.Stream.Logger = lost.note, slog.New(slog.NewTextHandler(&log, nil))
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
	require.NoError(t, c.admin.CreateTopics(t.Context(), []kafkastream.TopicSpec{{Name: gone, Partitions: 2, Replication: 3}}))
	c.fill(t, gone, 110, 115)
	all.await(t, 35)
	require.NoError(t, lost.why(gone))
	require.NoError(t, stop())
	got := all.values()
	slices.Sort(got)
	require.Len(t, slices.Compact(got), 35, "%v", got)
	_ = context.Background
	_ = stream.Config{}
}
