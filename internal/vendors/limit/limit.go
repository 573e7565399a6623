// Package limit stands between the driver and a vendor: a circuit breaker and a rate for each method, and a number of
// calls in flight for the vendor as a whole, so that one vendor's outage neither wears it out further nor takes the
// places of the others.
//
// A call that is not let through ends in a *vendors.Error of class Retryable: the proof that nothing was sent. The
// operation then waits or parks; it never fails for it. The package refuses to retry and to queue beyond Config.MaxWait.
//
// Its caller must count only on what a breaker can see: a vendor's refusal is an answer, not a fault.
package limit

import (
	"context"
	"errors"
	"time"

	"github.com/sony/gobreaker/v2"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"paydispatch/internal/commands"
	"paydispatch/internal/handover"
	"paydispatch/internal/vendors"
)

// Codes of the errors of a call that was not let through.
const (
	CodeBreakerOpen = "breaker_open"
	CodeRateLimited = "rate_limited"
	CodeBusy        = "vendor_busy" // its calls in flight are used up
	CodeNoQuota     = "quota_unavailable"
)

// Quota is a rate that all processes share.
type Quota interface {
	// Take asks for one call under a name. It returns how long the caller must wait before making it: 0 for at once.
	// Above most nothing is taken and the wait is how long to stay away.
	Take(ctx context.Context, name string, most time.Duration) (wait time.Duration, err error)
}

// Config are the limits of one vendor.
type Config struct {
	// Vendor names it in metrics.
	Vendor string
	// InFlight bounds the calls under way at once, all methods together; 0 does not.
	InFlight int
	// Rate and Burst bound the calls a second of each method in this process; 0 does not.
	Rate  float64
	Burst int
	// Quota, when set, bounds the calls of each method over all processes.
	Quota Quota
	// MaxWait is how long a call may wait for its turn before it is put off.
	MaxWait time.Duration
	// Breaker opens when at least MinCalls of a window of Window came in and the share of faults reached Faults; it lets
	// a few calls through again after Open.
	Breaker Breaker
	Observe Observer
}

// Breaker are the breaker's settings; a zero MinCalls turns it off.
type Breaker struct {
	MinCalls int
	Faults   float64
	Window   time.Duration
	Open     time.Duration
}

// Observer are hooks for metrics; each may be nil.
type Observer struct {
	// Gate is told of each method before its first call.
	Gate func(vendor, method string)
	// Breaker is told of each change of a method's breaker: "closed", "half-open" or "open".
	Breaker func(vendor, method, state string)
	// PutOff is told of each call that was not let through, with its code.
	PutOff func(vendor, method, code string)
	// Waited is told how long a call waited for its turn, when it did.
	Waited func(vendor, method string, d time.Duration)
}

// halfOpenCalls are let through to find out whether the vendor is back.
const halfOpenCalls = 3

// Vendor holds the limits of one vendor. Its methods are for wiring: they are not safe for concurrent use, while what
// they return is.
type Vendor struct {
	config   Config
	inFlight *semaphore.Weighted
	// gates by method: whoever calls a method shares its limits.
	gates map[string]*gate
}

// New returns the limits of one vendor.
func New(c Config) *Vendor {
	v := &Vendor{config: c, gates: map[string]*gate{}}
	if c.InFlight > 0 {
		v.inFlight = semaphore.NewWeighted(int64(c.InFlight))
	}
	return v
}

// Sender returns s within the limits, as the method of that name.
func (v *Vendor) Sender(method string, s vendors.Sender) vendors.Sender {
	return &limited{gate: v.gate(method), call: s.Send}
}

// Asker returns a within the limits, as the method of that name.
func (v *Vendor) Asker(method string, a vendors.Asker) vendors.Asker {
	return &limited{gate: v.gate(method), call: a.Ask}
}

// limited is one method behind its gate.
type limited struct {
	gate *gate
	call func(context.Context, commands.Command) (commands.Reply, error)
}

// Send implements vendors.Sender.
func (l *limited) Send(ctx context.Context, c commands.Command) (commands.Reply, error) {
	return l.do(ctx, c)
}

// Ask implements vendors.Asker.
func (l *limited) Ask(ctx context.Context, c commands.Command) (commands.Reply, error) {
	return l.do(ctx, c)
}

// do makes the call within the limits. A call that panics counts as a fault and gives its place back; the panic goes on.
func (l *limited) do(ctx context.Context, c commands.Command) (reply commands.Reply, err error) {
	leave, err := l.gate.enter(ctx)
	if err != nil {
		return commands.Reply{}, err
	}
	ended := errBrokeDown
	defer func() { leave(ended) }()
	reply, err = l.call(ctx, c)
	ended = err
	return reply, err
}

var errBrokeDown = errors.New("the adapter broke down")

// gate is the limits of one method.
type gate struct {
	*Vendor
	method  string
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}]
	rate    *rate.Limiter
}

func (v *Vendor) gate(method string) *gate {
	if g, ok := v.gates[method]; ok {
		return g
	}
	g := &gate{Vendor: v, method: method}
	v.gates[method] = g
	if v.config.Observe.Gate != nil {
		v.config.Observe.Gate(v.config.Vendor, method)
	}
	if v.config.Rate > 0 {
		g.rate = rate.NewLimiter(rate.Limit(v.config.Rate), max(v.config.Burst, 1))
	}
	if b := v.config.Breaker; b.MinCalls > 0 {
		g.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
			Name: method, MaxRequests: halfOpenCalls, Interval: b.Window, Timeout: b.Open,
			ReadyToTrip: func(n gobreaker.Counts) bool {
				return int(n.Requests) >= b.MinCalls && float64(n.TotalFailures) >= b.Faults*float64(n.Requests)
			},
			IsSuccessful: func(err error) bool { return err == nil || vendors.ClassOf(err) == commands.ClassPermanent },
			IsExcluded: func(err error) bool {
				return errors.Is(err, context.Canceled) || vendors.CodeOf(err) == vendors.CodeHandedOver
			},
			OnStateChange: func(_ string, _, to gobreaker.State) {
				if v.config.Observe.Breaker != nil {
					v.config.Observe.Breaker(v.config.Vendor, method, to.String())
				}
			},
		})
	}
	return g
}

// enter waits for the call's turn, or puts it off; the beginning of a handover ends the waiting. leave must be called with
// the call's error.
func (g *gate) enter(ctx context.Context) (leave func(error), err error) {
	if handover.Err(ctx) != nil {
		return nil, g.putOff(vendors.CodeHandedOver, 0)
	}
	free, err := g.place(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if leave == nil { // put off, or a hook or the quota panicked
			free()
		}
	}()
	if err := g.turn(ctx); err != nil {
		return nil, err
	}
	done, err := g.allowed()
	if err != nil {
		return nil, err
	}
	return func(err error) { defer free(); done(err) }, nil
}

// place takes one of the vendor's calls in flight.
func (g *gate) place(ctx context.Context) (free func(), err error) {
	if g.inFlight == nil {
		return func() {}, nil
	}
	if !g.inFlight.TryAcquire(1) {
		began := time.Now()
		waiting, stop := handover.Until(ctx)
		defer stop()
		waiting, cancel := context.WithTimeout(waiting, g.config.MaxWait)
		defer cancel()
		if g.inFlight.Acquire(waiting, 1) != nil {
			return nil, g.putOff(orHandedOver(ctx, CodeBusy), 0)
		}
		g.waited(time.Since(began))
	}
	return func() { g.inFlight.Release(1) }, nil
}

// turn waits for the rates, of this process and of all.
func (g *gate) turn(ctx context.Context) error {
	if g.rate != nil {
		r := g.rate.Reserve()
		if d := r.Delay(); d > g.config.MaxWait {
			r.Cancel()
			return g.putOff(CodeRateLimited, d)
		} else if err := g.wait(ctx, d); err != nil {
			r.Cancel()
			return err
		}
	}
	if g.config.Quota == nil {
		return nil
	}
	d, err := g.config.Quota.Take(ctx, g.config.Vendor+"/"+g.method, g.config.MaxWait)
	switch {
	case err != nil:
		return g.putOff(CodeNoQuota, 0)
	case d > g.config.MaxWait:
		return g.putOff(CodeRateLimited, d)
	}
	return g.wait(ctx, d)
}

func (g *gate) allowed() (done func(error), err error) {
	if g.breaker == nil {
		return func(error) {}, nil
	}
	if done, err = g.breaker.Allow(); err != nil {
		return nil, g.putOff(CodeBreakerOpen, g.config.Breaker.Open)
	}
	return done, nil
}

func (g *gate) wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	g.waited(d)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
	case <-handover.Begun(ctx):
	}
	return g.putOff(orHandedOver(ctx, CodeRateLimited), 0)
}

// orHandedOver returns why a call waited no longer.
func orHandedOver(ctx context.Context, code string) string {
	if handover.Err(ctx) != nil {
		return vendors.CodeHandedOver
	}
	return code
}

func (g *gate) waited(d time.Duration) {
	if g.config.Observe.Waited != nil {
		g.config.Observe.Waited(g.config.Vendor, g.method, d)
	}
}

// putOff is the error of a call that was not let through.
func (g *gate) putOff(code string, retryAfter time.Duration) error {
	if g.config.Observe.PutOff != nil {
		g.config.Observe.PutOff(g.config.Vendor, g.method, code)
	}
	return &vendors.Error{Class: commands.ClassRetryable, Code: code, RetryAfter: retryAfter, Err: errNotLetThrough}
}

var errNotLetThrough = errors.New("not let through: nothing was sent")
