// Package service is the frame that every service of this system stands in: a logger whose level can be changed, a
// registry of metrics, the admin port, one group of parts, and the way from main to a run and back to an exit code.
//
// It refuses to start on settings that cannot work, and to write anything but its log and those problems to stderr.
//
// Its callers open resources in the order in which they depend on each other, after New and before Wait, and must call
// Wait on every way out once New returned.
package service

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"paydispatch/cmd/internal/metric"
	"paydispatch/cmd/internal/settings"
	"paydispatch/internal/admin"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/idempotency/redisstore"
	"paydispatch/internal/lifecycle"
	"paydispatch/internal/stream"
	"paydispatch/internal/stream/kafkastream"
)

// Closing bounds how long one resource may take to close.
const Closing = 5 * time.Second

// RunFunc is a program: it returns nil when ctx ended and everything went well.
type RunFunc func(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) error

// Main runs a program until SIGINT or SIGTERM and returns its exit code: 0 when all went well, 2 when the settings or
// arguments cannot work, 1 for any other failure.
func Main(run RunFunc) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	redisstore.LogTo(slog.New(slog.DiscardHandler)) // its client tells no more than its errors do
	err := run(ctx, os.Args[1:], os.Getenv, os.Stderr)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, err)
	if _, invalid := errors.AsType[*settings.Invalid](err); invalid {
		return 2
	}
	return 1
}

// Arguments reads the flags that all services know. done is true when there is nothing more to do. measure makes the
// metrics of the service beside those that all have.
func Arguments(name string, args []string, config settings.Listing, measure func(*metric.Set), stderr io.Writer) (done bool, err error) {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	show := flags.Bool("print-config", false, "print the settings and exit")
	count := flags.Bool("print-metrics", false, "print what is measured and exit")
	flags.Usage = func() {
		fmt.Fprintf(stderr, "usage: %s [--print-config | --print-metrics]\n\nSettings are environment variables; secrets are in the files that they name.\n", name)
	}
	err = flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return true, nil
	case err != nil:
		return true, settings.Check(err)
	case flags.NArg() > 0:
		return true, settings.Check(fmt.Errorf("argument %q: none is known but --print-config and --print-metrics", flags.Arg(0)))
	case *show:
		return true, config.Print(stderr)
	case *count:
		set := metric.NewSet(prometheus.NewRegistry())
		newMetrics(set, name)
		measure(set)
		return true, set.Table(stderr)
	}
	return false, nil
}

// Service is one running program.
type Service struct {
	*lifecycle.Group
	Log *slog.Logger
	// Metrics makes what the admin port shows.
	Metrics *metric.Set

	name     string
	measured measured
	fit      *fitness
	registry *prometheus.Registry
	level    *slog.LevelVar
	process  settings.Process
	watches  map[string]*watch
}

// New returns a service without any part yet; its log goes to stderr as JSON. grace is how long its parts may take to
// finish what is in flight once ctx ended.
func New(ctx context.Context, name string, p settings.Process, grace time.Duration, stderr io.Writer) *Service {
	level := new(slog.LevelVar)
	level.Set(p.LogLevel)
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: level})).With("service", name)
	s := &Service{
		Group: lifecycle.New(ctx, grace, log), Log: log, registry: admin.NewRegistry(), level: level, process: p,
		name: name, watches: map[string]*watch{},
	}
	s.Metrics = metric.NewSet(s.registry)
	s.measured = newMetrics(s.Metrics, name)
	s.fit = newFitness(s.measured, log)
	return s
}

// measured is what all services show, beside Go's own.
type measured struct {
	reachable *prometheus.GaugeVec
	skew      prometheus.Gauge
	unfit     *prometheus.GaugeVec
	weakness  *prometheus.GaugeVec
}

// weak is redisstore.Config.OnFindings.
func (m measured) weak(found []idempotency.Finding) {
	for _, w := range idempotency.Weaknesses() {
		n := 0
		for _, f := range found {
			if f.Weakness == w {
				n++
			}
		}
		m.weakness.WithLabelValues(w).Set(float64(n))
	}
}

func newMetrics(set *metric.Set, service string) measured {
	set.Gauge("paydispatch_build_info", "What runs: always 1.", "service", "version", "revision", "go_version").
		WithLabelValues(append([]string{service}, build()...)...).Set(1)
	m := measured{
		reachable: set.Gauge("paydispatch_reachable", "1 while the dependency gave its last sign of life in time.", "dependency"),
		skew:      set.Gauge("paydispatch_clock_skew_seconds", "By how much the clock of this machine is ahead of that of Redis; negative: behind.").WithLabelValues(),
		unfit:     set.Gauge("paydispatch_unfit", "1 while the process must not call a vendor, by why; callback-ingest does not compare clocks.", "reason"),
		weakness:  set.Gauge("paydispatch_store_weakness", "Servers of Redis with this weakness, by what it is; payctl doctor says what to do.", "weakness"),
	}
	for _, name := range []string{redis, kafka} {
		m.reachable.WithLabelValues(name)
	}
	for _, reason := range idempotency.UnfitReasons() {
		m.unfit.WithLabelValues(reason)
	}
	m.weak(nil)
	return m
}

// build is the version, revision and Go version that the program was built with, as far as the go command knew.
func build() []string {
	version, revision := "unknown", "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return []string{version, revision, runtime.Version()}
	}
	if info.Main.Version != "" {
		version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			revision = s.Value
		}
	}
	return []string{version, revision, info.GoVersion}
}

// Admin opens the admin port. It is opened first, so that it is closed last. Health has no checks of its own: a part
// that cannot go on ends the process by itself, and what is away comes back without a restart.
func (s *Service) Admin(ready ...admin.Check) error {
	checks := []admin.Check{{Name: "running", Probe: s.Stopping}}
	for _, name := range []string{redis, kafka} {
		checks = append(checks, admin.Check{Name: name, Probe: s.watched(name).probe})
	}
	port, err := admin.New(s.Context(), admin.Config{
		Addr: s.process.AdminAddr, Registry: s.registry, Level: s.level, Log: s.Log, Ready: append(checks, ready...),
	})
	if err != nil {
		return err
	}
	s.Serve("admin port", Closing, port.Serve, port.Stop)
	s.Log.Info("listening", "port", "admin", "addr", port.Addr())
	return nil
}

// Store opens the record store, waits until it answers, and watches it from then on. A server that may drop records is
// refused. tolerance is how far own clock may be from the server's, 0 where nothing is sent.
func (s *Service) Store(r settings.Redis, tolerance time.Duration, m *metric.Operations) (*redisstore.Store, error) {
	config, err := r.Config()
	if err != nil {
		return nil, err
	}
	config.OnFindings = s.measured.weak
	config.OnForgot, config.OnBack, config.Tolerance, config.Logger, config.OnLook = m.Forgot, m.Back, tolerance, s.Log, s.fit.note
	store, err := redisstore.New(config)
	if err != nil {
		return nil, err
	}
	s.OnClose(redis, Closing, func(context.Context) error { return store.Close() })
	s.watch(redis, r.RoundTrip(), store.Ping)
	backoff := stream.Defaults().Backoff()
	for attempt := 1; ; attempt++ {
		err := store.Check(s.Context())
		if err == nil && tolerance > 0 {
			err = s.inspect(store, r)
		}
		if err == nil {
			s.Go("watch of the records", store.Watch)
		}
		if !errors.Is(err, idempotency.ErrUnavailable) {
			return store, err
		}
		s.Log.Warn("redis does not answer yet, trying again", "attempt", attempt, "err", err)
		if err := backoff.Wait(s.Context(), "redis", attempt); err != nil {
			return nil, err
		}
	}
}

// inspect says what is weak about the servers, and refuses what is not accepted, before anything is sent.
func (s *Service) inspect(store *redisstore.Store, r settings.Redis) error {
	found, err := store.Findings(s.Context())
	if err != nil {
		return err
	}
	for _, f := range found {
		s.Log.Warn("redis is weaker than it could be", "weakness", f.Weakness, "server", f.Server, "finding", f.Text)
	}
	return r.Refuses(found)
}

// Publisher opens the way into Kafka; it connects at its first use.
func (s *Service) Publisher(c kafkastream.Config, m *metric.Operations) (stream.Publisher, error) {
	p, err := kafkastream.NewPublisher(kafkastream.PublisherConfig{Config: c, Logger: s.Log})
	if err != nil {
		return nil, err
	}
	s.OnClose("publisher", Closing, p.Close)
	s.watch(kafka, pingTimeout, p.Ping)
	return m.Publisher(p), nil
}

// Close closes what a failed start has opened, and returns the failure beside what went wrong in closing. A start that
// was told to stop did not fail.
func (s *Service) Close(start error) error {
	if start != nil && s.Context().Err() != nil && errors.Is(start, context.Canceled) {
		start = nil
	}
	if start == nil {
		return s.Wait()
	}
	s.Go("start", func(context.Context) error { return start })
	return s.Wait()
}

// Owner names one incarnation of a process: its host and a word that no other one has.
func Owner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + "-" + strings.ToLower(rand.Text()[:10])
}

// Closed returns a readiness probe that fails with why until the channel is closed.
func Closed(c <-chan struct{}, why string) func(context.Context) error {
	return func(context.Context) error {
		select {
		case <-c:
			return nil
		default:
			return errors.New(why)
		}
	}
}
