package app

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"paydispatch/cmd/internal/settings"
	"paydispatch/internal/commands"
	"paydispatch/internal/vendors/catalog"
	"paydispatch/internal/vendors/esign"
)

// Config is everything that can be set; docs/settings.md explains it.
type Config struct {
	Process  settings.Process
	Listen   Listen
	Kafka    settings.Kafka
	Redis    settings.Redis
	Withhold settings.Withhold
	// Vendors are those whose callbacks are taken.
	Vendors    []string `env:"VENDORS"`
	Operations settings.Operations
	Esign      settings.Esign
}

// Vendors that call back.
const (
	vendorWithhold = "withhold"
	vendorEsign    = "esign"
)

// takes reports whether this vendor's callbacks are taken.
func (c Config) takes(vendor string) bool { return slices.Contains(c.Vendors, vendor) }

// secrets are what the mounted files hold. They mask themselves when printed.
type secrets struct {
	tokens commands.Keyring
	esign  esign.Config
}

// Listen is the port that vendors call.
type Listen struct {
	Addr     string        `env:"LISTEN_ADDR"`
	CertFile string        `env:"LISTEN_TLS_CERT_FILE"`
	KeyFile  string        `env:"LISTEN_TLS_KEY_FILE"`
	MaxBody  int           `env:"CALLBACK_MAX_BODY"`
	Timeout  time.Duration `env:"CALLBACK_TIMEOUT"`
	Rate     float64       `env:"CALLBACK_RATE"`
	Burst    int           `env:"CALLBACK_BURST"`
	Answer   string        `env:"CALLBACK_ANSWER"`
}

func defaults() Config {
	return Config{
		Process: settings.DefaultProcess(), Redis: settings.DefaultRedis(), Withhold: settings.DefaultWithhold(),
		Vendors: []string{vendorWithhold, vendorEsign}, Operations: settings.DefaultOperations(), Esign: settings.DefaultEsign(),
		Listen: Listen{Addr: ":8080", MaxBody: 64 << 10, Timeout: 5 * time.Second, Rate: 200, Burst: 400, Answer: "success"},
	}
}

// load reads the settings; its error names every problem at once.
func load(getenv func(string) string) (Config, secrets, error) {
	c := defaults()
	unreadable := settings.Load(&c, getenv)
	var s secrets
	var tokens, vendor error
	if c.takes(vendorWithhold) {
		s.tokens, tokens = c.Withhold.Tokens()
	}
	if c.takes(vendorEsign) {
		s.esign, vendor = c.Esign.Config()
		s.esign.ShareFor = 0 // a hint is answered by a fresh word
		vendor = errors.Join(vendor, settings.Ascending("a hint asks the vendor before it is answered",
			settings.Step{Name: "ESIGN_TIMEOUT", Takes: c.Esign.Timeout},
			settings.Step{Name: "CALLBACK_TIMEOUT", Takes: c.Listen.Timeout}))
	}
	return c, s, settings.Check(unreadable, c.Process.Check(), c.Kafka.Check(), c.Redis.Check(),
		c.Withhold.Check(c.Redis.Lifetime), c.Operations.Check(c.Redis.Lifetime, func(topic string) bool { return topic == catalog.IdentityPoll().Topic && c.takes(vendorEsign) }), c.Listen.check(c.Redis, c.Process),
		c.checkVendors(), tokens, vendor)
}

func (c Config) checkVendors() error {
	var problems []error
	if len(c.Vendors) == 0 {
		problems = append(problems, errors.New("VENDORS: names no vendor"))
	}
	for _, v := range c.Vendors {
		if v != vendorWithhold && v != vendorEsign {
			problems = append(problems, fmt.Errorf("VENDORS: %.60q is neither %s nor %s", v, vendorWithhold, vendorEsign))
		}
	}
	return errors.Join(problems...)
}

func (l Listen) check(r settings.Redis, p settings.Process) error {
	var rate, encryption error
	if l.Rate <= 0 {
		rate = errors.New("CALLBACK_RATE: must be more than 0 callbacks a second")
	}
	if (l.CertFile == "") != (l.KeyFile == "") {
		encryption = errors.New("LISTEN_TLS_CERT_FILE, LISTEN_TLS_KEY_FILE: only one of them is set")
	}
	return errors.Join(rate, encryption,
		settings.ListenAddress("LISTEN_ADDR", l.Addr), settings.Positive("CALLBACK_TIMEOUT", l.Timeout),
		settings.AtLeast("CALLBACK_MAX_BODY", l.MaxBody, 1<<10), settings.AtLeast("CALLBACK_BURST", l.Burst, 1),
		settings.Ascending("a callback reads and writes its record and publishes before it is answered",
			settings.Step{Name: "REDIS_TIMEOUT (with REDIS_WAIT_TIMEOUT)", Takes: r.RoundTrip()},
			settings.Step{Name: "CALLBACK_TIMEOUT", Takes: l.Timeout},
			settings.Step{Name: "POD_GRACE", Takes: p.PodGrace}),
	)
}
