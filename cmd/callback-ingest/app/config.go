package app

import (
	"errors"
	"time"

	"paydispatch/cmd/internal/settings"
	"paydispatch/internal/commands"
)

// Config is everything that can be set; docs/settings.md explains it.
type Config struct {
	Process  settings.Process
	Listen   Listen
	Kafka    settings.Kafka
	Redis    settings.Redis
	Withhold settings.Withhold
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
		Listen: Listen{Addr: ":8080", MaxBody: 64 << 10, Timeout: 5 * time.Second, Rate: 200, Burst: 400, Answer: "success"},
	}
}

// load reads the settings; its error names every problem at once.
func load(getenv func(string) string) (Config, commands.Keyring, error) {
	c := defaults()
	unreadable := settings.Load(&c, getenv)
	tokens, keys := c.Withhold.Tokens()
	return c, tokens, settings.Check(unreadable, c.Process.Check(), c.Kafka.Check(), c.Redis.Check(),
		c.Withhold.Check(c.Redis.Lifetime), c.Listen.check(c.Redis, c.Process), keys)
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
