package settings

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/idempotency/redisstore"
	"paydispatch/internal/stream/kafkastream"
)

// Process is what every service has.
type Process struct {
	AdminAddr  string        `env:"ADMIN_ADDR"`
	LogLevel   slog.Level    `env:"LOG_LEVEL"`
	PodGrace   time.Duration `env:"POD_GRACE"`
	ReadyGrace time.Duration `env:"READY_GRACE"`
	Tracing    Tracing
}

// DefaultProcess are the defaults.
func DefaultProcess() Process {
	return Process{
		AdminAddr: ":9090", LogLevel: slog.LevelInfo, PodGrace: 30 * time.Second, ReadyGrace: 30 * time.Second,
		Tracing: DefaultTracing(),
	}
}

// Check returns every problem.
func (p Process) Check() error {
	return errors.Join(ListenAddress("ADMIN_ADDR", p.AdminAddr), Positive("POD_GRACE", p.PodGrace),
		Positive("READY_GRACE", p.ReadyGrace), p.Tracing.Check())
}

// Kafka is how to reach the brokers.
type Kafka struct {
	Brokers      []string `env:"KAFKA_BROKERS"`
	TLS          bool     `env:"KAFKA_TLS"`
	CAFile       string   `env:"KAFKA_TLS_CA_FILE"`
	SASL         string   `env:"KAFKA_SASL"`
	User         string   `env:"KAFKA_USER"`
	PasswordFile string   `env:"KAFKA_PASSWORD_FILE"`
}

// Check returns every problem.
func (k Kafka) Check() error {
	problems := []error{hosts("KAFKA_BROKERS", k.Brokers), ca("KAFKA_TLS_CA_FILE", k.CAFile, k.TLS, "KAFKA_TLS")}
	switch strings.ToLower(k.SASL) {
	case "":
		if k.User != "" || k.PasswordFile != "" {
			problems = append(problems, errors.New("KAFKA_SASL: is not set, but KAFKA_USER or KAFKA_PASSWORD_FILE is"))
		}
	case "plain", "scram-sha-256", "scram-sha-512":
		if k.User == "" {
			problems = append(problems, errors.New("KAFKA_USER: is not set; KAFKA_SASL needs it"))
		}
		if _, err := k.Password(); err != nil {
			problems = append(problems, err)
		}
	default:
		problems = append(problems, errors.New("KAFKA_SASL: must be plain, scram-sha-256 or scram-sha-512, or not set"))
	}
	return errors.Join(problems...)
}

// Password reads the password; "" without SASL.
func (k Kafka) Password() (string, error) {
	if k.SASL == "" {
		return "", nil
	}
	if k.PasswordFile == "" {
		return "", errors.New("KAFKA_PASSWORD_FILE: is not set; KAFKA_SASL needs it")
	}
	return ReadSecret("KAFKA_PASSWORD_FILE", k.PasswordFile)
}

// Config returns the adapter's configuration; id names the service in the brokers' logs. The files are read again for
// each connection.
func (k Kafka) Config(id string) (kafkastream.Config, error) {
	if err := k.Check(); err != nil {
		return kafkastream.Config{}, err
	}
	c := kafkastream.Config{
		Brokers: k.Brokers, ClientID: id,
		SASL: kafkastream.SASL{
			Mechanism: strings.ToUpper(k.SASL), User: k.User,
			Password: func() (kafkastream.Password, error) {
				password, err := k.Password()
				return kafkastream.Password(password), err
			},
		},
	}
	if k.TLS {
		c.TLS = func() (*tls.Config, error) {
			encryption, err := TLSConfig(k.TLS, k.CAFile)
			if err != nil {
				return nil, fmt.Errorf("KAFKA_TLS_CA_FILE: %w", err)
			}
			return encryption, nil
		}
	}
	return c, nil
}

// Redis is how to reach the record store, and how it is laid out.
type Redis struct {
	Addrs        []string      `env:"REDIS_ADDRS"`
	Cluster      bool          `env:"REDIS_CLUSTER"`
	DB           int           `env:"REDIS_DB"`
	User         string        `env:"REDIS_USER"`
	PasswordFile string        `env:"REDIS_PASSWORD_FILE"`
	TLS          bool          `env:"REDIS_TLS"`
	CAFile       string        `env:"REDIS_TLS_CA_FILE"`
	Prefix       string        `env:"REDIS_PREFIX"`
	Buckets      int           `env:"REDIS_BUCKETS"`
	Timeout      time.Duration `env:"REDIS_TIMEOUT"`
	Replicas     int           `env:"REDIS_WAIT_REPLICAS"`
	WaitTimeout  time.Duration `env:"REDIS_WAIT_TIMEOUT"`
	Lifetime     time.Duration `env:"RECORD_LIFETIME"`
	AskWindow    time.Duration `env:"ASK_WINDOW"`

	// Strict stops a start at every weakness of the servers that is not in Accept.
	Strict bool     `env:"REDIS_STRICT"`
	Accept []string `env:"REDIS_ACCEPT"`

	SentinelMaster       string `env:"REDIS_SENTINEL_MASTER"`
	SentinelUser         string `env:"REDIS_SENTINEL_USER"`
	SentinelPasswordFile string `env:"REDIS_SENTINEL_PASSWORD_FILE"`
}

// DefaultRedis are the defaults: records live for 40 days after their last write.
func DefaultRedis() Redis {
	return Redis{
		Prefix: "pd", Buckets: 256, Timeout: time.Second, WaitTimeout: 500 * time.Millisecond,
		Lifetime: 40 * 24 * time.Hour, AskWindow: 40 * 24 * time.Hour,
	}
}

// Check returns every problem.
func (r Redis) Check() error {
	problems := []error{
		hosts("REDIS_ADDRS", r.Addrs), ca("REDIS_TLS_CA_FILE", r.CAFile, r.TLS, "REDIS_TLS"),
		Positive("REDIS_TIMEOUT", r.Timeout), Positive("RECORD_LIFETIME", r.Lifetime), Positive("ASK_WINDOW", r.AskWindow),
		within("REDIS_BUCKETS", r.Buckets, 1, 16384), within("REDIS_DB", r.DB, 0, 1<<20),
		within("REDIS_WAIT_REPLICAS", r.Replicas, 0, 16),
	}
	if strings.ContainsAny(r.Prefix, "{}") || r.Prefix == "" {
		problems = append(problems, errors.New("REDIS_PREFIX: must not be empty nor hold braces, which choose the cluster slot"))
	}
	if r.SentinelMaster == "" && r.SentinelUser+r.SentinelPasswordFile != "" {
		problems = append(problems, errors.New("REDIS_SENTINEL_MASTER: is not set, but REDIS_SENTINEL_USER or REDIS_SENTINEL_PASSWORD_FILE is"))
	}
	if r.SentinelMaster != "" && r.Cluster {
		problems = append(problems, errors.New("REDIS_SENTINEL_MASTER: a cluster has no Sentinels; REDIS_CLUSTER must be false"))
	}
	if (r.Cluster || len(r.Addrs) > 1 && r.SentinelMaster == "") && r.DB != 0 {
		problems = append(problems, errors.New("REDIS_DB: a cluster has only database 0"))
	}
	if r.Replicas > 0 {
		problems = append(problems, Positive("REDIS_WAIT_TIMEOUT", r.WaitTimeout))
	}
	for _, name := range r.Accept {
		if !slices.Contains(idempotency.Weaknesses(), name) {
			problems = append(problems, fmt.Errorf("REDIS_ACCEPT: %q is not one of %s", name, strings.Join(idempotency.Weaknesses(), ", ")))
		}
	}
	_, err := r.Password()
	_, sentinelErr := r.SentinelPassword()
	return errors.Join(append(problems, err, sentinelErr)...)
}

// Refuses returns what of the findings stops a start, nil for nothing: what keeps a loss from being seen always, the rest
// where that is asked for.
func (r Redis) Refuses(found []idempotency.Finding) error {
	var problems []error
	for _, f := range found {
		if (r.Strict || f.Weakness == idempotency.WeakIdentity) && !slices.Contains(r.Accept, f.Weakness) {
			problems = append(problems, fmt.Errorf("redis%s: %s (or name %s in REDIS_ACCEPT)", spaced(f.Server), f.Text, f.Weakness))
		}
	}
	return errors.Join(problems...)
}

// Password reads the password; "" when no file is set.
func (r Redis) Password() (string, error) {
	return optionalSecret("REDIS_PASSWORD_FILE", r.PasswordFile)
}

// SentinelPassword reads that of the Sentinels; "" when no file is set.
func (r Redis) SentinelPassword() (string, error) {
	return optionalSecret("REDIS_SENTINEL_PASSWORD_FILE", r.SentinelPasswordFile)
}

func optionalSecret(name, file string) (string, error) {
	if file == "" {
		return "", nil
	}
	return ReadSecret(name, file)
}

// Open returns the store; it connects at its first use.
func (r Redis) Open() (*redisstore.Store, error) {
	c, err := r.Config()
	if err != nil {
		return nil, err
	}
	return redisstore.New(c)
}

// Config returns the adapter's configuration.
func (r Redis) Config() (redisstore.Config, error) {
	password, err := r.Password()
	if err != nil {
		return redisstore.Config{}, err
	}
	sentinel, err := r.SentinelPassword()
	if err != nil {
		return redisstore.Config{}, err
	}
	encryption, err := TLSConfig(r.TLS, r.CAFile)
	if err != nil {
		return redisstore.Config{}, fmt.Errorf("REDIS_TLS_CA_FILE: %w", err)
	}
	return redisstore.Config{
		Master: r.SentinelMaster, SentinelUser: r.SentinelUser, SentinelPassword: sentinel,
		Addrs: r.Addrs, Cluster: r.Cluster, Username: r.User, Password: password, TLS: encryption, DB: r.DB,
		Prefix: r.Prefix, Buckets: r.Buckets, Lifetime: r.Lifetime, AskWindow: r.AskWindow,
		Replicas: r.Replicas, WaitTimeout: r.WaitTimeout, Timeout: r.Timeout,
	}, nil
}

// RoundTrip is the longest that one write may take.
func (r Redis) RoundTrip() time.Duration {
	if r.Replicas > 0 {
		return r.Timeout + r.WaitTimeout
	}
	return r.Timeout
}

// Withhold is the policy of withhold operations, which both services share.
type Withhold struct {
	Lease     time.Duration   `env:"WITHHOLD_LEASE"`
	Settle    time.Duration   `env:"WITHHOLD_SETTLE"`
	Deadline  time.Duration   `env:"WITHHOLD_DEADLINE"`
	MaxSends  int             `env:"WITHHOLD_MAX_SENDS"`
	ParkTiers []time.Duration `env:"PARK_TIERS"`
	TokenKeys string          `env:"CALLBACK_TOKEN_KEYS_FILE"`
}

// DefaultWithhold are the defaults.
func DefaultWithhold() Withhold {
	return Withhold{
		Lease: 8 * time.Second, Settle: time.Minute, Deadline: 24 * time.Hour, MaxSends: 3,
		ParkTiers: []time.Duration{5 * time.Second, 30 * time.Second, 5 * time.Minute, time.Hour},
	}
}

// Policy returns the policy for one process incarnation.
func (w Withhold) Policy(spec commands.Spec, owner string) commands.Policy {
	return commands.Policy{
		Spec: spec, Owner: owner, Lease: w.Lease, Settle: w.Settle, Deadline: w.Deadline, MaxSends: w.MaxSends,
		Tiers: w.ParkTiers,
	}
}

// Check returns every problem; lifetime is that of a record.
func (w Withhold) Check(lifetime time.Duration) error {
	problem := Rename(w.Policy(commands.Spec{}, "").Validate(), "WITHHOLD", [][2]string{
		{"lease", "WITHHOLD_LEASE"}, {"settle", "WITHHOLD_SETTLE"}, {"deadline", "WITHHOLD_DEADLINE"},
		{"max sends", "WITHHOLD_MAX_SENDS"}, {"delay tiers", "PARK_TIERS"},
	}...)
	if lifetime <= w.Deadline {
		problem = errors.Join(problem, fmt.Errorf("RECORD_LIFETIME: %v must be longer than WITHHOLD_DEADLINE, which is %v, "+
			"or an order could be forgotten while it is still open", lifetime, w.Deadline))
	}
	return problem
}

// Tokens reads the keys of the callback tokens.
func (w Withhold) Tokens() (commands.Keyring, error) {
	return ReadKeys("CALLBACK_TOKEN_KEYS_FILE", w.TokenKeys)
}

// TLSConfig returns nil when on is false, else a configuration that trusts the CA file, or the system when there is none.
func TLSConfig(on bool, caFile string) (*tls.Config, error) {
	if !on {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return c, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", caFile)
	}
	return c, nil
}

// URL checks an http or https address of ours or of a vendor, without credentials, query or fragment.
func URL(name, text string) error {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return fmt.Errorf("%s: is not set", name)
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%s: must be an address such as https://pay.example.com", name)
	case u.User != nil:
		return fmt.Errorf("%s: must not hold a user or password", name)
	case u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%s: must not hold a query or fragment", name)
	}
	return nil
}

// Ascending checks that each duration is shorter than the next one.
func Ascending(why string, steps ...Step) error {
	var problems []error
	for i := 1; i < len(steps); i++ {
		if a, b := steps[i-1], steps[i]; a.Takes >= b.Takes {
			problems = append(problems, fmt.Errorf("%s: %v must be shorter than %s, which is %v: %s", a.Name, a.Takes, b.Name, b.Takes, why))
		}
	}
	return errors.Join(problems...)
}

// Step is a setting that [Ascending] compares.
type Step struct {
	Name  string
	Takes time.Duration
}

// Positive checks a duration.
func Positive(name string, d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("%s: must be positive", name)
	}
	return nil
}

func within(name string, n, low, high int) error {
	if n < low || n > high {
		return fmt.Errorf("%s: %d must be %d to %d", name, n, low, high)
	}
	return nil
}

// AtLeast checks a count.
func AtLeast(name string, n, low int) error {
	if n < low {
		return fmt.Errorf("%s: %d must be at least %d", name, n, low)
	}
	return nil
}

// hosts checks addresses without repeating them: one may hold a password by mistake.
func hosts(name string, addrs []string) error {
	if len(addrs) == 0 {
		return fmt.Errorf("%s: is not set; it lists addresses such as host1:1234,host2:1234", name)
	}
	for i, a := range addrs {
		host, port, err := net.SplitHostPort(a)
		if err != nil || host == "" || port == "" || strings.ContainsAny(a, "@/ ") {
			return fmt.Errorf("%s: address %d must be host:port", name, i+1)
		}
	}
	return nil
}

// ListenAddress checks an address to listen on.
func ListenAddress(name, addr string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return fmt.Errorf("%s: must be an address to listen on, such as :9090 or 127.0.0.1:0", name)
	}
	return nil
}

func ca(name, file string, on bool, switchName string) error {
	if file == "" {
		return nil
	}
	if !on {
		return fmt.Errorf("%s: is set, but %s is not true", name, switchName)
	}
	if _, err := TLSConfig(on, file); err != nil {
		return fmt.Errorf("%s: cannot be used: %w", name, err)
	}
	return nil
}

func spaced(server string) string {
	if server == "" {
		return ""
	}
	return " " + server
}
