package sim

import (
	"context"
	"net/http"

	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/stream"
	"paydispatch/internal/vendors"
)

// mutation is one mistake that the simulation has to catch, made by wrapping ports and shells: production code is as it
// is. Hooks that are nil change nothing.
type mutation struct {
	name, danger string

	store     func(*world, idempotency.Store) idempotency.Store
	publisher func(stream.Publisher) stream.Publisher
	vendor    func(vendors.Vendor) vendors.Vendor
	handler   func(stream.Handler) stream.Handler
	callbacks func(*world, http.Handler) http.Handler
	policy    func(*commands.Policy)
	prepare   func(prepareFunc) prepareFunc
}

type prepareFunc = func(ctx context.Context, seenBefore bool) error

// complete fills the hooks that are nil.
func (m mutation) complete() mutation {
	if m.store == nil {
		m.store = func(_ *world, s idempotency.Store) idempotency.Store { return s }
	}
	if m.publisher == nil {
		m.publisher = func(p stream.Publisher) stream.Publisher { return p }
	}
	if m.vendor == nil {
		m.vendor = func(v vendors.Vendor) vendors.Vendor { return v }
	}
	if m.handler == nil {
		m.handler = func(h stream.Handler) stream.Handler { return h }
	}
	if m.callbacks == nil {
		m.callbacks = func(_ *world, h http.Handler) http.Handler { return h }
	}
	if m.policy == nil {
		m.policy = func(*commands.Policy) {}
	}
	if m.prepare == nil {
		m.prepare = func(f prepareFunc) prepareFunc { return f }
	}
	return m
}
