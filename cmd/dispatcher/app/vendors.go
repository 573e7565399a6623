package app

import (
	"context"
	"slices"
	"time"

	"paydispatch/cmd/internal/service"
	"paydispatch/cmd/internal/settings"
	"paydispatch/internal/commands"
	"paydispatch/internal/dispatch"
	"paydispatch/internal/idempotency/redisstore"
	"paydispatch/internal/operation"
	"paydispatch/internal/stream"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/catalog"
	"paydispatch/internal/vendors/daxpay"
	"paydispatch/internal/vendors/esign"
	"paydispatch/internal/vendors/limit"
	"paydispatch/internal/vendors/withhold"
)

// Topics by vendor; a vendor's settings are needed when one of its topics is served.
func withholdTopics() []string {
	return []string{catalog.Withhold().Topic, catalog.WithholdQuery().Topic, catalog.CardPrebind().Topic, catalog.CardConfirm().Topic}
}
func esignTopics() []string  { return []string{catalog.IdentityPoll().Topic} }
func daxpayTopics() []string { return []string{catalog.AllocReceiverQuery().Topic} }

// serves reports whether one of these topics is served.
func (c Config) serves(topics []string) bool {
	return slices.ContainsFunc(topics, func(t string) bool { return slices.Contains(c.Topics.Names, t) })
}

// wiring is what the routes of all vendors are made of.
type wiring struct {
	service   *service.Service
	config    Config
	secret    secrets
	store     *redisstore.Store
	publisher stream.Publisher
	metrics   *metrics
	tracer    operation.Tracer
	owner     string
}

// routes returns the routes of the served topics.
func (w wiring) routes() ([]dispatch.Route, error) {
	var all []dispatch.Route
	for _, v := range []struct {
		topics []string
		routes func() ([]dispatch.Route, error)
	}{
		{withholdTopics(), w.withhold},
		{esignTopics(), w.esign},
		{daxpayTopics(), w.daxpay},
	} {
		if !w.config.serves(v.topics) {
			continue
		}
		routes, err := v.routes()
		if err != nil {
			return nil, err
		}
		all = append(all, routes...)
	}
	return slices.DeleteFunc(all, func(r dispatch.Route) bool {
		return !slices.Contains(w.config.Topics.Names, r.Driver.Policy.Spec.Topic)
	}), nil
}

// withhold joins the gateway's four interfaces.
func (w wiring) withhold() ([]dispatch.Route, error) {
	gateway, err := withhold.New(w.secret.withhold)
	if err != nil {
		return nil, err
	}
	w.closes("withhold gateway", gateway.Close)
	limits, err := w.limits("withhold", w.config.Gateway.Limits)
	if err != nil {
		return nil, err
	}
	shared, operations, timeout := w.config.Withhold, w.config.Operations, w.config.Gateway.Timeout
	orders, err := w.driver(operation.Config{
		Policy: shared.Policy(catalog.Withhold(), w.owner), Timeout: timeout,
		Sender: limits.Sender("single-withhold", gateway), Asker: limits.Asker("single-order-query", gateway),
	})
	if err != nil {
		return nil, err
	}
	query, prebind, confirm := gateway.Query(), gateway.Prebind(), gateway.Confirm()
	queries, err := w.driver(operation.Config{
		Policy: operations.Query(shared, catalog.WithholdQuery(), w.owner), Timeout: timeout,
		Asker: operation.Relay{
			Asker: limits.Asker("single-order-query", query), Orders: orders, OrderField: "biz_order_no", Account: gateway.Account,
		},
	})
	if err != nil {
		return nil, err
	}
	prebinds, err := w.driver(operation.Config{
		Policy: operations.Card(shared, catalog.CardPrebind(), w.owner), Timeout: timeout,
		Sender: limits.Sender("pre-tied-card", prebind),
	})
	if err != nil {
		return nil, err
	}
	confirms, err := w.driver(operation.Config{
		Policy: operations.Card(shared, catalog.CardConfirm(), w.owner), Timeout: timeout,
		Sender: limits.Sender("confirm-tied-card", confirm),
	})
	if err != nil {
		return nil, err
	}
	return []dispatch.Route{
		{Driver: orders, Check: gateway.Check, Account: gateway.Account},
		{Driver: queries, Check: query.Check, Account: gateway.Account},
		{Driver: prebinds, Check: prebind.Check, Account: gateway.Account},
		{Driver: confirms, Check: confirm.Check, Account: gateway.Account},
	}, nil
}

// esign joins e签宝.
func (w wiring) esign() ([]dispatch.Route, error) {
	config := w.secret.esign
	config.Observe = w.metrics.process
	client, err := esign.New(config)
	if err != nil {
		return nil, err
	}
	w.closes("esign", client.Close)
	return w.asks("esign", w.config.Esign.Limits, "reversePaymentProcess", client, client,
		w.config.Operations.Identity(catalog.IdentityPoll(), w.owner), w.config.Esign.Timeout)
}

// daxpay joins DaxPay.
func (w wiring) daxpay() ([]dispatch.Route, error) {
	client, err := daxpay.New(w.secret.daxpay)
	if err != nil {
		return nil, err
	}
	w.closes("daxpay", client.Close)
	return w.asks("daxpay", w.config.Daxpay.Limits, "allocationReceiver", client, client,
		w.config.Operations.Receiver(w.config.Withhold, catalog.AllocReceiverQuery(), w.owner), w.config.Daxpay.Timeout)
}

// asks returns the route of a vendor with one interface that is a question.
func (w wiring) asks(vendor string, l settings.Limits, method string, asker vendors.Asker, reads reader,
	policy commands.Policy, timeout time.Duration,
) ([]dispatch.Route, error) {
	limits, err := w.limits(vendor, l)
	if err != nil {
		return nil, err
	}
	driver, err := w.driver(operation.Config{Policy: policy, Timeout: timeout, Asker: limits.Asker(method, asker)})
	if err != nil {
		return nil, err
	}
	return []dispatch.Route{{Driver: driver, Check: reads.Check, Account: reads.Account}}, nil
}

// reader is an adapter's reading of commands.
type reader interface {
	Check(c commands.Command) error
	Account(word string) string
}

func (w wiring) limits(vendor string, l settings.Limits) (*limit.Vendor, error) {
	return l.Open(vendor, w.config.Breaker, w.store, w.metrics.limits())
}

// driver completes a driver's configuration with what all of them share.
func (w wiring) driver(c operation.Config) (*operation.Driver, error) {
	c.Policy.Patience, c.Policy.Lifetime, c.Policy.Margin = w.config.Group.Patience, w.config.Redis.Lifetime, w.config.Group.ClockMargin
	c.Policy.BackWindow = w.config.Group.BackWindow
	c.Tracer, c.Store, c.Publisher, c.Logger, c.Observe = w.tracer, w.store, w.publisher, w.service.Log, w.metrics.operations.Observer(c.Policy.Spec)
	c.Fit, c.Keys = w.store.Fit, w.secret.fingerprints
	return operation.New(c)
}

func (w wiring) closes(name string, f func()) {
	w.service.OnClose(name, service.Closing, func(context.Context) error { f(); return nil })
}
