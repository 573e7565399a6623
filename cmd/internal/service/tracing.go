package service

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"paydispatch/internal/operation"
	"paydispatch/internal/tracing"
)

// flushing bounds how long a collector may take for one batch, and how long a stop waits for it to take the last one.
const flushing = 2 * time.Second

// Tracer returns what makes the service's spans, nil while tracing is off. owner names this process, group its consumer
// group, "" when it has none. A collector that is away costs spans, and nothing else.
func (s *Service) Tracer(owner, group string) (operation.Tracer, error) {
	t := s.process.Tracing
	if t.Endpoint == "" {
		return nil, nil
	}
	exporter, err := otlptrace.New(s.Context(), collector{
		url: strings.TrimRight(t.Endpoint, "/") + "/v1/traces", http: &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment}},
	})
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(tolerant{exporter, s.Log}),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(t.Ratio))),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.namespace", "paydispatch"), attribute.String("service.name", s.name),
			attribute.String("service.version", build()[0]), attribute.String("service.instance.id", owner))),
	)
	s.OnClose("tracing", Closing, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, flushing)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			s.Log.Warn("the last spans were lost", "err", err)
		}
		return nil
	})
	s.Log.Info("tracing", "endpoint", t.Endpoint, "ratio", t.Ratio)
	return tracing.New(provider, group), nil
}

// tolerant logs what the exporter says, which the library would print to stderr beside the log.
type tolerant struct {
	sdktrace.SpanExporter
	log *slog.Logger
}

// ExportSpans implements sdktrace.SpanExporter.
func (t tolerant) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := t.SpanExporter.ExportSpans(ctx, spans); err != nil {
		t.log.Warn("spans were lost", "spans", len(spans), "err", err)
	}
	return nil
}
