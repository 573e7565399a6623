package service

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"paydispatch/internal/idempotency"
)

// fitness is whether this process may call vendors, as its record store said last.
type fitness struct {
	measured measured
	log      *slog.Logger

	mu    sync.Mutex
	unfit *idempotency.Unfit // nil while it may
}

func newFitness(m measured, log *slog.Logger) *fitness { return &fitness{measured: m, log: log} }

// note is redisstore.Config.OnLook.
func (f *fitness) note(err error, skew time.Duration) {
	f.measured.skew.Set(skew.Seconds())
	var unfit *idempotency.Unfit
	_ = errors.As(err, &unfit)
	f.mu.Lock()
	was := f.unfit
	f.unfit = unfit
	f.mu.Unlock()
	if was != nil {
		f.measured.unfit.WithLabelValues(was.Reason).Set(0)
	}
	if unfit != nil {
		f.measured.unfit.WithLabelValues(unfit.Reason).Set(1)
	}
	switch {
	case unfit != nil && (was == nil || was.Reason != unfit.Reason):
		f.log.Warn("not fit to call a vendor", "reason", unfit.Reason, "err", unfit)
	case unfit == nil && was != nil:
		f.log.Info("fit to call vendors")
	}
}

// Fit is a readiness probe that fails while this process must not call a vendor.
func (s *Service) Fit(context.Context) error {
	s.fit.mu.Lock()
	defer s.fit.mu.Unlock()
	if s.fit.unfit == nil {
		return nil
	}
	return s.fit.unfit
}
