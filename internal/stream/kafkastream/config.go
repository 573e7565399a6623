package kafkastream

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/offsetfetch"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"paydispatch/internal/stream"
)

// Config says how to reach the brokers. It is shared by publishers, consumers and admins.
type Config struct {
	// Brokers are "host:port" addresses to begin with; at least one.
	Brokers []string
	// ClientID names the service in the brokers' logs; each client adds a random suffix.
	ClientID string
	// TLS, when set, is used for every connection. It is asked anew for each, so that certificates may be renewed.
	TLS func() (*tls.Config, error)
	// SASL, when its mechanism is set, authenticates every connection.
	SASL SASL
	// Dial replaces the plain TCP dialer, for proxies and tests.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Timeout bounds one request and one dial; 0 means 5 s.
	Timeout time.Duration
}

// SASL mechanisms.
const (
	Plain       = "PLAIN"
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA512 = "SCRAM-SHA-512"
)

// SASL is how a client proves who it is. The password is asked for at each connection, so that it may be renewed.
type SASL struct {
	Mechanism string
	User      string
	Password  func() (Password, error)
}

// Password masks itself wherever it is printed.
type Password string

const masked = "[masked]"

// String masks the password.
func (Password) String() string { return masked }

// GoString masks the password for %#v.
func (Password) GoString() string { return masked }

// MarshalText masks the password in JSON and the like.
func (Password) MarshalText() ([]byte, error) { return []byte(masked), nil }

// LogValue masks the password in logs.
func (Password) LogValue() slog.Value { return slog.StringValue(masked) }

// metadataTTL is how long a client believes what it knows of topics and leaders.
const metadataTTL = time.Second

// client is kafka-go's transport, which every request goes through, and the calls that it has for some of them.
type client struct {
	id        string
	timeout   time.Duration
	transport *kafka.Transport
	api       *kafka.Client
	drops     atomic.Int64 // how often the idle connections were given up
}

func newClient(cfg Config) (*client, error) {
	if len(cfg.Brokers) == 0 {
		return nil, errors.New("kafka: no broker addresses are set")
	}
	if err := cfg.SASL.check(); err != nil {
		return nil, err
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.ClientID == "" {
		cfg.ClientID = "paydispatch"
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{Timeout: cfg.Timeout}).DialContext
	}
	c := &client{id: cfg.ClientID + "-" + strings.ToLower(rand.Text()[:10]), timeout: cfg.Timeout}
	c.transport = &kafka.Transport{
		Dial: cfg.dial, DialTimeout: cfg.Timeout, MetadataTTL: metadataTTL, ClientID: c.id,
	}
	if cfg.SASL.Mechanism != "" {
		c.transport.SASL = cfg.SASL
	}
	c.api = &kafka.Client{Addr: kafka.TCP(cfg.Brokers...), Timeout: cfg.Timeout, Transport: c}
	return c, nil
}

// dial makes a connection, encrypted where that is set. One address gets half of the time: kafka-go tries the others in
// what is left.
func (c Config) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout/2)
	defer cancel()
	conn, err := c.Dial(ctx, network, address)
	if err != nil || c.TLS == nil {
		return conn, err
	}
	encrypted, err := c.encrypt(ctx, conn, address)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("TLS with %s: %w", address, err)
	}
	return encrypted, nil
}

func (c Config) encrypt(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	settings, err := c.TLS()
	if err != nil {
		return nil, err
	}
	if settings.ServerName == "" {
		settings = settings.Clone()
		if settings.ServerName, _, err = net.SplitHostPort(address); err != nil {
			return nil, err
		}
	}
	encrypted := tls.Client(conn, settings)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return encrypted, nil
}

func (s SASL) check() error {
	switch s.Mechanism {
	case "", Plain, ScramSHA256, ScramSHA512:
		return nil
	}
	return fmt.Errorf("kafka: SASL mechanism %q is not one of %s, %s, %s", s.Mechanism, Plain, ScramSHA256, ScramSHA512)
}

// Name implements [sasl.Mechanism].
func (s SASL) Name() string { return s.Mechanism }

// Start implements [sasl.Mechanism].
func (s SASL) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	password, err := s.Password()
	if err != nil {
		return nil, nil, err
	}
	if s.Mechanism == Plain {
		return plain.Mechanism{Username: s.User, Password: string(password)}.Start(ctx)
	}
	algorithm := scram.SHA256
	if s.Mechanism == ScramSHA512 {
		algorithm = scram.SHA512
	}
	m, err := scram.Mechanism(algorithm, s.User, string(password))
	if err != nil {
		return nil, nil, err
	}
	return m.Start(ctx)
}

func (c *client) close() { c.transport.CloseIdleConnections() }

// send makes one request, in the client's timeout unless ctx has its own, that does no harm when it is made twice. It makes it again when the connection was dead: brokers
// cut those that were idle for long (a lane that was full or waited for a due time) or whose authentication is over. All
// that are idle are given up then, for they are as old.
func (c *client) send(ctx context.Context, req kafka.Request) (kafka.Response, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		within, cancel := context.WithTimeout(ctx, c.timeout)
		defer cancel()
		ctx = within
	}
	drops := c.drops.Load()
	res, err := c.transport.RoundTrip(ctx, c.api.Addr, req)
	if !cut(err) || ctx.Err() != nil {
		return res, err
	}
	if c.drops.CompareAndSwap(drops, drops+1) {
		c.transport.CloseIdleConnections()
	}
	return c.transport.RoundTrip(ctx, c.api.Addr, req)
}

// RoundTrip implements [kafka.RoundTripper] for the calls that kafka-go has: it sends.
func (c *client) RoundTrip(ctx context.Context, _ net.Addr, req kafka.Request) (kafka.Response, error) {
	return c.send(ctx, req)
}

// cut tells an end of the connection from an answer of the broker.
func cut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// spot names a partition.
type spot struct {
	topic     string
	partition int
}

// span is the part of a partition's log that exists: from first up to, not including, end.
type span struct{ first, end int64 }

// partitions lists the partitions of topics.
func (c *client) partitions(ctx context.Context, topics []string) (map[spot]kafka.Partition, error) {
	res, err := c.api.Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
	if err != nil {
		return nil, fmt.Errorf("read metadata: %w", err)
	}
	found := map[spot]kafka.Partition{}
	for _, t := range res.Topics {
		if t.Error != nil {
			return nil, fmt.Errorf("read metadata of topic %s: %w", t.Name, t.Error)
		}
		for _, p := range t.Partitions {
			found[spot{t.Name, p.ID}] = p
		}
	}
	return found, nil
}

// spans asks the leaders where the logs of partitions begin and end.
func (c *client) spans(ctx context.Context, of []spot) (map[spot]span, error) {
	if len(of) == 0 {
		return nil, nil
	}
	req := &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{}}
	for _, s := range of {
		req.Topics[s.topic] = append(req.Topics[s.topic], kafka.FirstOffsetOf(s.partition), kafka.LastOffsetOf(s.partition))
	}
	res, err := c.api.ListOffsets(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("list offsets: %w", err)
	}
	found := map[spot]span{}
	for topic, partitions := range res.Topics {
		for _, p := range partitions {
			if p.Error != nil {
				return nil, fmt.Errorf("list offsets of %s/%d: %w", topic, p.Partition, p.Error)
			}
			found[spot{topic, p.Partition}] = span{first: p.FirstOffset, end: p.LastOffset}
		}
	}
	for _, s := range of {
		if at, ok := found[s]; !ok || at.first < 0 || at.end < at.first {
			return nil, fmt.Errorf("list offsets of %s/%d: the broker did not say", s.topic, s.partition)
		}
	}
	return found, nil
}

// committed reads a group's committed offsets; -1 where it has none. It fails when the answer leaves a partition out, for
// that is no word that there is none.
func (c *client) committed(ctx context.Context, group string, of []spot) (map[spot]int64, error) {
	if len(of) == 0 {
		return nil, nil
	}
	req := &offsetfetch.Request{GroupID: group}
	byTopic := map[string][]int32{}
	for _, s := range of {
		byTopic[s.topic] = append(byTopic[s.topic], int32(s.partition))
	}
	for topic, partitions := range byTopic {
		req.Topics = append(req.Topics, offsetfetch.RequestTopic{Name: topic, PartitionIndexes: partitions})
	}
	res, err := ask[*offsetfetch.Response](ctx, c, req)
	if err == nil && res.ErrorCode != 0 {
		err = kafka.Error(res.ErrorCode)
	}
	if err != nil {
		return nil, fmt.Errorf("read committed offsets of group %s: %w", group, err)
	}
	found := map[spot]int64{}
	for _, t := range res.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return nil, fmt.Errorf("read committed offset of group %s in %s/%d: %w", group, t.Name, p.PartitionIndex, kafka.Error(p.ErrorCode))
			}
			found[spot{t.Name, int(p.PartitionIndex)}] = p.CommittedOffset
		}
	}
	for _, s := range of {
		if _, ok := found[s]; !ok {
			return nil, fmt.Errorf("read committed offset of group %s in %s/%d: the broker did not say", group, s.topic, s.partition)
		}
	}
	return found, nil
}

func toKafka(m stream.Message) kafka.Message {
	out := kafka.Message{Topic: m.Topic, Key: m.Key, Value: m.Value}
	if len(m.Key) == 0 {
		out.Key = nil // an empty key would send all such messages to one partition
	}
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, kafka.Header{Key: h.Key, Value: h.Value})
	}
	return out
}
