package settings

import (
	"errors"
	"fmt"
	"time"

	"paydispatch/internal/idempotency/redisstore"
	"paydispatch/internal/vendors/limit"
)

// Limits are one vendor's; its variables begin with the vendor's prefix.
type Limits struct {
	InFlight int     `env:"MAX_IN_FLIGHT"`
	Rate     float64 `env:"RATE"`
	Burst    int     `env:"BURST"`
	Quota    float64 `env:"QUOTA"`
}

// DefaultLimits bound the calls in flight only.
func DefaultLimits() Limits { return Limits{InFlight: 1024, Burst: 10} }

// Breaker is the circuit breakers' settings, the same for each vendor and method.
type Breaker struct {
	MinCalls int           `env:"BREAKER_MIN_CALLS"`
	Faults   float64       `env:"BREAKER_FAULTS"`
	Window   time.Duration `env:"BREAKER_WINDOW"`
	Open     time.Duration `env:"BREAKER_OPEN"`
	MaxWait  time.Duration `env:"LIMIT_MAX_WAIT"`
}

// DefaultBreaker opens when half of at least 20 calls in 10 s went wrong, for 5 s.
func DefaultBreaker() Breaker {
	return Breaker{MinCalls: 20, Faults: 0.5, Window: 10 * time.Second, Open: 5 * time.Second, MaxWait: time.Second}
}

// Check returns every problem; prefix begins the names.
func (l Limits) Check(prefix string) error {
	problems := []error{AtLeast(prefix+"MAX_IN_FLIGHT", l.InFlight, 1), AtLeast(prefix+"BURST", l.Burst, 1)}
	for name, v := range map[string]float64{"RATE": l.Rate, "QUOTA": l.Quota} {
		if v < 0 {
			problems = append(problems, fmt.Errorf("%s%s: %v must be calls a second, or 0 for no limit", prefix, name, v))
		}
	}
	return errors.Join(problems...)
}

// Check returns every problem.
func (b Breaker) Check() error {
	var share error
	if b.Faults <= 0 || b.Faults > 1 {
		share = fmt.Errorf("BREAKER_FAULTS: %v must be above 0 and at most 1", b.Faults)
	}
	return errors.Join(AtLeast("BREAKER_MIN_CALLS", b.MinCalls, 0), share, Positive("BREAKER_WINDOW", b.Window),
		Positive("BREAKER_OPEN", b.Open), Positive("LIMIT_MAX_WAIT", b.MaxWait))
}

// Open returns the limits of a vendor; store holds the quota that all processes share.
func (l Limits) Open(vendor string, b Breaker, store *redisstore.Store, observe limit.Observer) (*limit.Vendor, error) {
	c := limit.Config{
		Vendor: vendor, InFlight: l.InFlight, Rate: l.Rate, Burst: l.Burst, MaxWait: b.MaxWait, Observe: observe,
		Breaker: limit.Breaker{MinCalls: b.MinCalls, Faults: b.Faults, Window: b.Window, Open: b.Open},
	}
	if l.Quota > 0 {
		quota, err := redisstore.NewQuota(store, l.Quota, l.Burst)
		if err != nil {
			return nil, err
		}
		c.Quota = quota
	}
	return limit.New(c), nil
}
