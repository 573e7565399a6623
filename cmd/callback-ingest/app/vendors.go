package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"golang.org/x/time/rate"

	"paydispatch/cmd/internal/service"
	"paydispatch/internal/callback"
	"paydispatch/internal/commands"
	"paydispatch/internal/idempotency"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
	"paydispatch/internal/vendors/catalog"
	"paydispatch/internal/vendors/esign"
	"paydispatch/internal/vendors/withhold"
)

// wiring is what the routes of all vendors are made of.
type wiring struct {
	service   *service.Service
	config    Config
	secret    secrets
	store     idempotency.Store
	publisher stream.Publisher
	metrics   *metrics
	tracer    operation.Tracer
	owner     string
}

// routes returns the addresses that vendors call.
func (w wiring) routes() (*http.ServeMux, error) {
	mux := http.NewServeMux()
	for vendor, add := range map[string]func(*http.ServeMux) error{vendorWithhold: w.withhold, vendorEsign: w.esign} {
		if !w.config.takes(vendor) {
			continue
		}
		if err := add(mux); err != nil {
			return nil, err
		}
	}
	return mux, nil
}

// withhold takes the gateway's callbacks, whose proof is the token in their address.
func (w wiring) withhold(mux *http.ServeMux) error {
	driver, err := w.driver(operation.Config{Policy: w.config.Withhold.Policy(catalog.Withhold(), w.owner)})
	if err != nil {
		return err
	}
	mux.Handle(callback.Pattern(vendorWithhold), w.handler(vendorWithhold, callback.Config{
		Driver: driver, Reader: callback.Tokened{Tokens: w.secret.tokens, Decoder: decoder{}}, Answer: w.config.Listen.Answer,
	}))
	return nil
}

// esign takes e签宝's callbacks, whose proof is a signature; they are hints, and e签宝 is asked.
func (w wiring) esign(mux *http.ServeMux) error {
	client, err := esign.New(w.secret.esign)
	if err != nil {
		return err
	}
	w.service.OnClose("esign", service.Closing, func(context.Context) error { client.Close(); return nil })
	driver, err := w.driver(operation.Config{
		Policy: w.config.Operations.Identity(catalog.IdentityPoll(), w.owner), Asker: client, Timeout: w.config.Esign.Timeout,
	})
	if err != nil {
		return err
	}
	mux.Handle(callback.SignedPattern(vendorEsign), w.handler(vendorEsign, callback.Config{
		Driver: driver, Reader: callback.Signed{Verify: verify(client)}, Answer: esign.CallbackAnswer, IgnoreGet: true,
	}))
	return nil
}

// driver completes a driver's configuration with what all of them share.
func (w wiring) driver(c operation.Config) (*operation.Driver, error) {
	c.Store, c.Publisher, c.Logger, c.Tracer = w.store, w.publisher, w.service.Log, w.tracer
	c.Observe = w.metrics.operations.Observer(c.Policy.Spec)
	return operation.New(c)
}

// handler completes a handler's configuration with what all of them share.
func (w wiring) handler(vendor string, c callback.Config) *callback.Handler {
	l := w.config.Listen
	c.Vendor, c.Store, c.Logger, c.Observe = vendor, w.store, w.service.Log, w.metrics.vendor(vendor)
	c.Tracer = w.tracer
	c.MaxBody, c.Timeout, c.Limit = int64(l.MaxBody), l.Timeout, rate.NewLimiter(rate.Limit(l.Rate), l.Burst)
	return callback.New(c)
}

// verify adapts e签宝's verifier to the shell's port.
func verify(client *esign.Client) func(http.Header, url.Values, []byte) (commands.OperationKey, error) {
	return func(header http.Header, query url.Values, body []byte) (commands.OperationKey, error) {
		c, err := client.VerifyCallback(header, query, body)
		switch {
		case errors.Is(err, esign.ErrCallbackSignature):
			return "", fmt.Errorf("%w: %w", callback.ErrForged, err)
		case err != nil:
			return "", fmt.Errorf("%w: %w", callback.ErrMalformed, err)
		}
		return commands.OperationKey(c.FlowID), nil
	}
}

// decoder reads the withhold gateway's callbacks for package callback.
type decoder struct{}

// Decode implements callback.Decoder. The content type is not asked: PHP senders often declare the wrong one.
func (decoder) Decode(_ string, body []byte) (string, commands.Reply, error) {
	c, err := withhold.DecodeCallback(body)
	if err != nil {
		return "", commands.Reply{}, err
	}
	reply, err := c.Reply()
	return c.BizOrderNo, reply, err
}
