// Package admin is the port for those who run a service: its metrics, whether it lives and may be given work, its
// profiles, and its log level, over HTTP apart from the port that the world sees.
//
//	GET      /metrics       Prometheus text of the registry that was handed in
//	GET      /healthz       200 while the process works, else 503: the platform then starts it anew
//	GET      /readyz        200 while it may be given work, else 503
//	GET/PUT  /loglevel      the lowest level that is logged; the body of PUT is debug, info, warn, error, or info+2
//	GET      /debug/pprof/  profiles
//
// Health and readiness run all of their checks at once and answer with every problem by name, as JSON.
//
// It refuses to know what it watches: checks, registry and level come from its caller, who must see to it that no
// check's error holds a secret, and that the port is reachable from inside only, since nobody is asked who they are.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// readTimeout bounds how long a client may take to say what it wants.
const readTimeout = 5 * time.Second

// Config says what the port shows. Registry, Level and Log are required.
type Config struct {
	// Addr is host:port to listen on; port 0 takes a free one.
	Addr string
	// Registry is what /metrics shows.
	Registry *prometheus.Registry
	// Level is what /loglevel shows and sets.
	Level *slog.LevelVar
	Log   *slog.Logger
	// Alive are the checks of /healthz. It should hold only what a restart mends; usually it is empty.
	Alive []Check
	// Ready are the checks of /readyz.
	Ready []Check
	// CheckTimeout bounds each check; 2 s when zero.
	CheckTimeout time.Duration
}

// NewRegistry returns a registry that shows the Go runtime, the process and the build, for a service to add its own to.
func NewRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	return registry
}

// Server is the admin port. It listens from [New] on and answers from [Server.Serve] on.
type Server struct {
	cfg      Config
	listener net.Listener
	http     *http.Server
}

// New listens on the configured address; the error names it. Every way out of the caller must call [Server.Stop].
func New(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.CheckTimeout == 0 {
		cfg.CheckTimeout = 2 * time.Second
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("admin port: %w", err)
	}
	s := &Server{cfg: cfg, listener: listener}
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn),
	}
	return s, nil
}

// Addr is the host:port that it listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Serve answers until Stop is called, which is no error.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin port: %w", err)
	}
	return nil
}

// Stop lets requests in flight end until ctx does, and cuts off the rest (a profile may run for a minute).
func (s *Server) Stop(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("admin port: %w", err), s.http.Close())
	}
	// Shutdown closes only a listener that was served.
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("admin port: %w", err)
	}
	return nil
}

// routes is the table of the package comment. The profiles are named here because net/http/pprof otherwise speaks
// through the shared mux of net/http.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.cfg.Registry, promhttp.HandlerOpts{Registry: s.cfg.Registry}))
	mux.Handle("GET /healthz", checks{list: s.cfg.Alive, timeout: s.cfg.CheckTimeout})
	mux.Handle("GET /readyz", checks{list: s.cfg.Ready, timeout: s.cfg.CheckTimeout})
	mux.HandleFunc("GET /loglevel", s.showLevel)
	mux.HandleFunc("PUT /loglevel", s.setLevel)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// validate names everything that is missing at once.
func (c Config) validate() error {
	var errs []error
	if c.Registry == nil {
		errs = append(errs, errors.New("admin port: no metrics registry"))
	}
	if c.Level == nil {
		errs = append(errs, errors.New("admin port: no log level"))
	}
	if c.Log == nil {
		errs = append(errs, errors.New("admin port: no logger"))
	}
	return errors.Join(append(errs, validateChecks(c.Alive), validateChecks(c.Ready))...)
}
