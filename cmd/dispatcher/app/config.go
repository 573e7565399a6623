package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"paydispatch/cmd/internal/settings"
	"paydispatch/internal/callback"
	"paydispatch/internal/commands"
	"paydispatch/internal/operation"
	"paydispatch/internal/vendors/catalog"
	"paydispatch/internal/vendors/daxpay"
	"paydispatch/internal/vendors/esign"
	"paydispatch/internal/vendors/withhold"
)

// Config is everything that can be set; docs/settings.md explains it.
type Config struct {
	Process settings.Process
	Kafka   settings.Kafka
	Group   Group
	Topics  Topics
	Redis   settings.Redis

	Withhold   settings.Withhold
	Operations settings.Operations
	Gateway    settings.Gateway
	Esign      settings.Esign
	Daxpay     settings.Daxpay
	Breaker    settings.Breaker

	CallbackBaseURL     string `env:"CALLBACK_BASE_URL"`
	FingerprintKeysFile string `env:"FINGERPRINT_KEYS_FILE"`
	MaxCommandBytes     int    `env:"MAX_COMMAND_BYTES"`
}

// Group is how this process takes part in the consumer group.
type Group struct {
	Name             string        `env:"KAFKA_GROUP"`
	Heartbeat        time.Duration `env:"HEARTBEAT_INTERVAL"`
	RebalanceTimeout time.Duration `env:"REBALANCE_TIMEOUT"`
	SessionTimeout   time.Duration `env:"SESSION_TIMEOUT"`
	DrainBudget      time.Duration `env:"DRAIN_BUDGET"`
	InFlight         int           `env:"IN_FLIGHT"`
	Window           int           `env:"WINDOW"`
	MaxInFlight      int           `env:"MAX_IN_FLIGHT"`
	MaxBytes         int           `env:"MAX_IN_FLIGHT_BYTES"`
	Patience         time.Duration `env:"PATIENCE"`
	StuckAfter       time.Duration `env:"STUCK_AFTER"`
	ClockMargin      time.Duration `env:"PRODUCER_CLOCK_MARGIN"`
	BackWindow       time.Duration `env:"BACK_WINDOW"`
}

// Topics is which topics this process serves.
type Topics struct {
	Names      []string `env:"TOPICS"`
	Create     bool     `env:"TOPICS_CREATE"`
	Partitions int      `env:"TOPICS_PARTITIONS"`
}

func defaults() Config {
	return Config{
		Process: settings.DefaultProcess(),
		Group: Group{
			Name: "paydispatch", Heartbeat: time.Second, DrainBudget: 7 * time.Second, RebalanceTimeout: 10 * time.Second,
			SessionTimeout: 15 * time.Second, InFlight: 64, Window: 8192, MaxInFlight: 1024, MaxBytes: 64 << 20,
			Patience: 2 * time.Second, StuckAfter: time.Minute,
			ClockMargin: time.Hour, BackWindow: 15 * time.Minute,
		},
		Topics:   Topics{Names: catalog.Topics(), Partitions: 8},
		Redis:    settings.DefaultRedis(),
		Withhold: settings.DefaultWithhold(), Operations: settings.DefaultOperations(), Gateway: settings.DefaultGateway(),
		Esign: settings.DefaultEsign(), Daxpay: settings.DefaultDaxpay(), Breaker: settings.DefaultBreaker(),
		MaxCommandBytes: 64 << 10,
	}
}

// tolerance is how far the clock of this process may be off before it calls no vendor; 0, for no bound, where it
// serves nothing that has an effect.
func (c Config) tolerance() time.Duration {
	if !c.serves(withholdTopics()) {
		return 0
	}
	return c.Withhold.Policy(catalog.Withhold(), "").Tolerance()
}

// witnesses are the topics in which whoever executed a command with an effect left something, whatever this process
// serves itself: a Redis that is empty beside one that was written to has lost its memory.
func (c Config) witnesses() []string {
	var names []string
	for _, spec := range catalog.Specs() {
		if spec.Effect == commands.EffectRead {
			continue
		}
		names = append(names, spec.ResultTopic, spec.DeadLetterTopic())
		names = append(names, operation.DelayTopics(spec.Topic, c.Operations.Tiers(c.Withhold, spec.Topic))...)
		if !slices.Contains(c.Topics.Names, spec.Topic) {
			names = append(names, spec.Topic)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// secrets are what the mounted files hold. They mask themselves when printed.
type secrets struct {
	fingerprints commands.Keyring
	withhold     withhold.Config
	esign        esign.Config
	daxpay       daxpay.Config
}

// load reads the settings; its error names every problem at once.
func load(getenv func(string) string) (Config, secrets, error) {
	c := defaults()
	unreadable := settings.Load(&c, getenv)
	var s secrets
	var keys, tokens error
	var vendors []error
	s.fingerprints, keys = settings.ReadKeys("FINGERPRINT_KEYS_FILE", c.FingerprintKeysFile)
	if c.serves(withholdTopics()) {
		var notify func(string) string
		var problems error
		notify, tokens = c.notifyURL()
		s.withhold, problems = c.Gateway.Config(notify)
		vendors = append(vendors, problems)
	}
	if c.serves(esignTopics()) {
		var problems error
		s.esign, problems = c.Esign.Config()
		vendors = append(vendors, problems)
	}
	if c.serves(daxpayTopics()) {
		var problems error
		s.daxpay, problems = c.Daxpay.Config()
		vendors = append(vendors, problems)
	}
	err := settings.Check(unreadable, c.Process.Check(), c.Kafka.Check(), c.Redis.Check(), c.Withhold.Check(c.Redis.Lifetime),
		c.Operations.Check(c.Redis.Lifetime, func(topic string) bool { return slices.Contains(c.Topics.Names, topic) }), c.Breaker.Check(), c.checkTopics(), c.checkLimits(), c.checkTimings(), keys, tokens,
		errors.Join(vendors...))
	return c, s, err
}

// notifyURL gives the callback address of an order, nil when no base address is set: then the gateway is only asked.
func (c Config) notifyURL() (func(order string) string, error) {
	if c.CallbackBaseURL == "" {
		return nil, nil
	}
	tokens, keys := c.Withhold.Tokens()
	base := strings.TrimRight(c.CallbackBaseURL, "/")
	if err := errors.Join(keys, settings.URL("CALLBACK_BASE_URL", base)); err != nil {
		return nil, err
	}
	return func(order string) string { return callback.URL(base, "withhold", tokens, order) }, nil
}

func (c Config) checkTopics() error {
	var problems []error
	if len(c.Topics.Names) == 0 {
		problems = append(problems, errors.New("TOPICS: names no topic"))
	}
	for _, name := range c.Topics.Names {
		if _, ok := catalog.Find(name); !ok {
			problems = append(problems, fmt.Errorf("TOPICS: %.60q is not one of %s", name, strings.Join(catalog.Topics(), ", ")))
		}
	}
	if len(slices.Compact(slices.Sorted(slices.Values(c.Topics.Names)))) != len(c.Topics.Names) {
		problems = append(problems, errors.New("TOPICS: names a topic twice"))
	}
	return errors.Join(append(problems, settings.AtLeast("TOPICS_PARTITIONS", c.Topics.Partitions, 1))...)
}

func (c Config) checkLimits() error {
	var name error
	if c.Group.Name == "" {
		name = errors.New("KAFKA_GROUP: is not set")
	}
	return errors.Join(name,
		settings.AtLeast("IN_FLIGHT", c.Group.InFlight, 1), settings.AtLeast("WINDOW", c.Group.Window, c.Group.InFlight),
		settings.AtLeast("MAX_IN_FLIGHT", c.Group.MaxInFlight, 1), settings.AtLeast("MAX_IN_FLIGHT_BYTES", c.Group.MaxBytes, c.MaxCommandBytes),
		settings.Positive("PATIENCE", c.Group.Patience), settings.Positive("STUCK_AFTER", c.Group.StuckAfter),
		settings.Positive("PRODUCER_CLOCK_MARGIN", c.Group.ClockMargin), settings.Positive("BACK_WINDOW", c.Group.BackWindow),
		settings.Positive("HEARTBEAT_INTERVAL", c.Group.Heartbeat),
		settings.AtLeast("MAX_COMMAND_BYTES", c.MaxCommandBytes, 256))
}

// mostGrace is how long a drain at most goes on beginning what was overtaken.
const mostGrace = time.Second

// grace is how long a drain goes on beginning what was overtaken: half of what DRAIN_BUDGET leaves beside the longest
// call, since what is begun last must still be stored and told.
func (c Config) grace() time.Duration {
	longest := time.Duration(0)
	for _, v := range c.calls() {
		longest = max(longest, v.Takes)
	}
	return min((c.Group.DrainBudget-longest)/2, mostGrace)
}

// calls are the longest calls of the vendors that are served.
func (c Config) calls() []settings.Step {
	var all []settings.Step
	for _, v := range []struct {
		topics []string
		settings.Step
	}{
		{withholdTopics(), settings.Step{Name: "WITHHOLD_TIMEOUT", Takes: c.Gateway.Timeout}},
		{esignTopics(), settings.Step{Name: "ESIGN_TIMEOUT", Takes: c.Esign.Timeout}},
		{daxpayTopics(), settings.Step{Name: "DAXPAY_TIMEOUT", Takes: c.Daxpay.Timeout}},
	} {
		if c.serves(v.topics) {
			all = append(all, v.Step)
		}
	}
	return all
}

// checkTimings refuses what could let two processes work on one order at once, or cut off a call in flight.
func (c Config) checkTimings() error {
	claimed := c.Gateway.Timeout + c.Redis.RoundTrip()
	var calls []error
	for _, call := range c.calls() {
		calls = append(calls, settings.Ascending("calls in flight must end before the drain does",
			call, settings.Step{Name: "DRAIN_BUDGET", Takes: c.Group.DrainBudget}))
	}
	return errors.Join(
		errors.Join(calls...),
		settings.Ascending("the drain must end before the group gives up on this member, which notices a rebalance one heartbeat late",
			settings.Step{Name: "DRAIN_BUDGET and one HEARTBEAT_INTERVAL", Takes: c.Group.DrainBudget + c.Group.Heartbeat},
			settings.Step{Name: "REBALANCE_TIMEOUT", Takes: c.Group.RebalanceTimeout}),
		settings.Ascending("the pod must not be killed while it drains",
			settings.Step{Name: "REBALANCE_TIMEOUT", Takes: c.Group.RebalanceTimeout},
			settings.Step{Name: "POD_GRACE", Takes: c.Process.PodGrace}),
		settings.Ascending("the broker must not take a member for dead that still drains",
			settings.Step{Name: "REBALANCE_TIMEOUT", Takes: c.Group.RebalanceTimeout},
			settings.Step{Name: "SESSION_TIMEOUT", Takes: c.Group.SessionTimeout}),
		settings.Ascending("a record must live longer than a producer's clock may be off",
			settings.Step{Name: "PRODUCER_CLOCK_MARGIN", Takes: c.Group.ClockMargin},
			settings.Step{Name: "RECORD_LIFETIME", Takes: c.Redis.Lifetime}),
		settings.Ascending("an order may be asked about only once nobody can still be sending it",
			settings.Step{Name: "WITHHOLD_TIMEOUT and one write to Redis", Takes: claimed},
			settings.Step{Name: "WITHHOLD_LEASE", Takes: c.Withhold.Lease}),
	)
}
