// Package app is the service callback-ingest: it takes vendors' callbacks over HTTP and turns them into result events.
//
// A callback counts only with the token that its order got in its notify_url, and is answered only after its result is
// durable in Kafka. The service never calls a vendor, and keeps no state of its own: any number of pods may run. It
// refuses to start on settings that cannot work.
//
// What it needs from its surroundings: TLS, here (LISTEN_TLS_…) or in front of it, and no access log in front of it
// that keeps request paths, since they hold the tokens.
package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"paydispatch/cmd/internal/metric"
	"paydispatch/cmd/internal/service"
	"paydispatch/cmd/internal/settings"
	"paydispatch/internal/admin"
)

// name names the service in logs and at the brokers.
const name = "callback-ingest"

// Run takes callbacks until ctx ends, then answers those in flight and returns nil. Settings come from getenv, the log
// goes to stderr. A *settings.Invalid names every setting that cannot work.
func Run(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) error {
	config, secret, problems := load(getenv)
	if done, err := service.Arguments(name, args, settings.List(config), func(set *metric.Set) { newMetrics(set) }, stderr); done {
		return err
	}
	if problems != nil {
		return problems
	}
	s := service.New(ctx, name, config.Process, config.Listen.Timeout, stderr)
	return s.Close(start(s, config, secret))
}

func start(s *service.Service, c Config, secret secrets) error {
	s.Log.Info("starting", "settings", settings.List(c))
	kafka, err := c.Kafka.Config(name)
	if err != nil {
		return err
	}
	opened := make(chan struct{})
	ready := admin.Check{Name: "started", Probe: service.Closed(opened, "redis did not answer yet")}
	if err := s.Admin(ready); err != nil {
		return err
	}
	m := newMetrics(s.Metrics)
	store, err := s.Store(c.Redis, 0, m.operations)
	if err != nil {
		return err
	}
	publisher, err := s.Publisher(kafka, m.operations)
	if err != nil {
		return err
	}
	owner := service.Owner()
	tracer, err := s.Tracer(owner, "")
	if err != nil {
		return err
	}
	w := wiring{service: s, config: c, secret: secret, store: store, publisher: publisher, metrics: m, tracer: tracer, owner: owner}
	mux, err := w.routes()
	if err != nil {
		return err
	}
	if err := listen(s, c.Listen, mux); err != nil {
		return err
	}
	close(opened)
	return nil
}

// listen serves the port that vendors call. Its times are a little longer than the handling's, so that the handler's
// own answer comes first.
func listen(s *service.Service, l Listen, handler http.Handler) error {
	listener, err := new(net.ListenConfig).Listen(s.Context(), "tcp", l.Addr)
	if err != nil {
		return fmt.Errorf("callback port: %w", err)
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: min(l.Timeout, 5*time.Second), ReadTimeout: l.Timeout,
		WriteTimeout: l.Timeout + time.Second, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn),
	}
	serve := func() error { return server.Serve(listener) }
	if l.CertFile != "" {
		serve = func() error { return server.ServeTLS(listener, l.CertFile, l.KeyFile) }
	}
	s.Serve("callback port", l.Timeout+2*time.Second, serve, server.Shutdown)
	s.Log.Info("listening", "port", "callbacks", "addr", listener.Addr().String())
	return nil
}
