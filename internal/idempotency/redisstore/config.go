package redisstore

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"paydispatch/internal/idempotency"
)

const (
	defaultPrefix  = "pd"
	defaultBuckets = 256
	maxBuckets     = 16384 // Redis Cluster's slots; more buckets could not be spread any further
	defaultTimeout = time.Second
	defaultEvery   = 2 * time.Second
)

// Config of a store.
type Config struct {
	// Addrs are host:port; one is a single server, several are the seeds of a Redis Cluster, or with Master the Sentinels.
	Addrs []string
	// Master is the name by which Sentinels know the primary; "" for none. SentinelUser and SentinelPassword are what they
	// ask for themselves.
	Master                         string
	SentinelUser, SentinelPassword string
	// Cluster says that a single address is the configuration endpoint of a cluster.
	Cluster  bool
	Username string
	Password string
	// TLS is nil for plain connections.
	TLS *tls.Config
	// DB is the database of a single server; a cluster has only 0.
	DB int
	// Prefix begins every key; "" means "pd". All processes that share records use the same one.
	Prefix string
	// Buckets is how many epochs there are; 0 means 256. It can not be changed over existing records: [Store.Prepare]
	// then fails.
	Buckets int
	// Lifetime of a record after its last write, and of an epoch. It must outlive the log's retention of commands and the time in which
	// a vendor may still change its mind.
	Lifetime time.Duration
	// AskWindow is how long a bucket's loss of memory is told; 0 means Lifetime, after which no lost record would
	// stand any more.
	AskWindow time.Duration
	// Replicas is how many replicas must have a write before Swap returns; 0 means that the primary's word is enough,
	// and that a failover may lose the latest writes.
	Replicas int
	// WaitTimeout bounds the wait for the replicas.
	WaitTimeout time.Duration
	// Timeout bounds a round trip, from the dial to the last reply; 0 means 1 s.
	Timeout time.Duration
	// Tolerance is how far own clock and the servers' may be apart, see [Store.Fit]; 0 turns that off.
	Tolerance time.Duration
	// Every is the time between two looks at the servers while [Store.Watch] runs; 0 means 2 s.
	Every time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger is told why records may be gone; nil means that nothing is logged.
	Logger *slog.Logger
	// OnLook is called by [Store.Watch] after its first look and before each other one with what [Store.Fit] says, and by how
	// much own clock was ahead of the servers' when that was last read. It must not block.
	OnLook func(unfit error, skew time.Duration)
	// OnFindings is told by [Store.Watch] what [Store.Findings] found, every few minutes. It must not block.
	OnFindings func([]idempotency.Finding)
	// OnForgot is told of each bucket that this process finds to have lost its memory: an alarm. A loss that another
	// process found, before this one knew the bucket, is not told again. nil tells nobody; it must not block.
	OnForgot func()
	// OnBack is called for each bucket whose server was started again or promoted since, and may have lost its latest
	// writes. It may be nil, and must not block.
	OnBack func()
}

// Format implements fmt.Formatter, so that no verb shows the password.
func (c Config) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "redis "+strings.Join(c.Addrs, ","))
}

// LogValue implements slog.LogValuer without the password.
func (c Config) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }

func (c Config) withDefaults() Config {
	if c.Prefix == "" {
		c.Prefix = defaultPrefix
	}
	if c.Buckets == 0 {
		c.Buckets = defaultBuckets
	}
	if c.AskWindow == 0 {
		c.AskWindow = c.Lifetime
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Every == 0 {
		c.Every = defaultEvery
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.OnLook == nil {
		c.OnLook = func(error, time.Duration) {}
	}
	if c.OnFindings == nil {
		c.OnFindings = func([]idempotency.Finding) {}
	}
	if c.OnForgot == nil {
		c.OnForgot = func() {}
	}
	if c.OnBack == nil {
		c.OnBack = func() {}
	}
	return c
}

// validate reports all problems of a config whose defaults are filled in.
func (c Config) validate() error {
	var problems []error
	refuse := func(bad bool, why string) {
		if bad {
			problems = append(problems, errors.New("redis: "+why))
		}
	}
	refuse(len(c.Addrs) == 0, "no address is set")
	refuse(c.clustered() && c.DB != 0, "a cluster has only database 0")
	refuse(c.Cluster && c.Master != "", "a cluster has no Sentinels")
	refuse(c.Master == "" && c.SentinelUser+c.SentinelPassword != "", "credentials of Sentinels need the name of their primary")
	refuse(strings.ContainsAny(c.Prefix, "{}"), "the prefix must not hold braces: they choose the cluster slot")
	refuse(c.Buckets < 1 || c.Buckets > maxBuckets, fmt.Sprintf("the buckets must be 1 to %d", maxBuckets))
	refuse(c.Lifetime < time.Millisecond, "the records' lifetime must be set")
	refuse(c.AskWindow < 0, "the ask window must not be negative")
	refuse(c.Replicas < 0, "the replicas must not be negative")
	refuse(c.Replicas > 0 && c.WaitTimeout < time.Millisecond, "waiting for replicas needs a timeout")
	refuse(c.Timeout < 0, "the timeout must not be negative")
	refuse(c.Tolerance < 0, "the tolerance between the clocks must not be negative")
	refuse(c.Every < 0, "the time between two looks must not be negative")
	return errors.Join(problems...)
}

func (c Config) clustered() bool { return c.Cluster || len(c.Addrs) > 1 && c.Master == "" }

// options turns off every repetition inside the client: what a repeated write met could be itself.
func (c Config) options() *redis.UniversalOptions {
	return &redis.UniversalOptions{
		Addrs:                    c.Addrs,
		IsClusterMode:            c.Cluster,
		MasterName:               c.Master,
		SentinelUsername:         c.SentinelUser,
		SentinelPassword:         c.SentinelPassword,
		Username:                 c.Username,
		Password:                 c.Password,
		TLSConfig:                c.TLS,
		DB:                       c.DB,
		MaxRetries:               -1,
		DialerRetries:            1,
		DialTimeout:              c.Timeout,
		ReadTimeout:              c.roundTrip(),
		WriteTimeout:             c.Timeout,
		PoolTimeout:              c.Timeout,
		ContextTimeoutEnabled:    true,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// roundTrip is the longest that one pipeline may take.
func (c Config) roundTrip() time.Duration {
	if c.Replicas > 0 {
		return c.Timeout + c.WaitTimeout
	}
	return c.Timeout
}
