package settings

import (
	"errors"
	"fmt"
)

// Tracing is where spans go; none are made while no endpoint is set.
type Tracing struct {
	// Endpoint is the base address of an OTLP/HTTP collector; spans go to /v1/traces below it.
	Endpoint string `env:"TRACING_ENDPOINT"`
	// Ratio is the share of traces that begin here and are kept; of those that come with a command the sender decides.
	Ratio float64 `env:"TRACING_RATIO"`
}

// DefaultTracing is off.
func DefaultTracing() Tracing { return Tracing{Ratio: 0.01} }

// Check returns every problem.
func (t Tracing) Check() error {
	var endpoint, ratio error
	if t.Endpoint != "" {
		endpoint = URL("TRACING_ENDPOINT", t.Endpoint)
	}
	if t.Ratio < 0 || t.Ratio > 1 {
		ratio = fmt.Errorf("TRACING_RATIO: %v must be between 0 and 1", t.Ratio)
	}
	return errors.Join(endpoint, ratio)
}
