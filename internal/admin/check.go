package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Check is one thing that health or readiness depends on.
type Check struct {
	// Name is what its problem is shown under, unique in its list.
	Name string
	// Probe returns nil when all is well, and otherwise an error without secrets that a person can act on. It must
	// return soon after ctx ends, and may be called from several goroutines at once.
	Probe func(ctx context.Context) error
}

// report is the answer of /healthz and /readyz.
type report struct {
	OK       bool      `json:"ok"`
	Problems []problem `json:"problems"`
}

type problem struct {
	Check string `json:"check"`
	Error string `json:"error"`
}

// checks answers with 200 when every check of the list passes, else with 503, and with all problems in the list's
// order.
type checks struct {
	list    []Check
	timeout time.Duration
}

func (c checks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	found := c.run(r.Context())
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if !found.OK {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	// The client may have gone: nobody is left to tell.
	_ = json.NewEncoder(w).Encode(found)
}

// run probes side by side, so that one check that hangs does not hide what the others say, nor add to its time.
func (c checks) run(ctx context.Context) report {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answers := make([]chan error, len(c.list))
	for i, check := range c.list {
		answers[i] = make(chan error, 1)
		go func() { answers[i] <- check.probe(ctx) }()
	}
	found := report{Problems: []problem{}}
	for i, check := range c.list {
		if err := first(ctx, answers[i], c.timeout); err != nil {
			found.Problems = append(found.Problems, problem{Check: check.Name, Error: err.Error()})
		}
	}
	found.OK = len(found.Problems) == 0
	return found
}

// probe runs one check; one that panics is a problem, not the end of the process.
func (c Check) probe(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return c.Probe(ctx)
}

// first returns the answer of a check, or an error when it has none in time.
func first(ctx context.Context, answer <-chan error, timeout time.Duration) error {
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-answer:
		return err
	default:
		return fmt.Errorf("no answer within %v", timeout)
	}
}

// validateChecks refuses checks that could not be told apart or not be run.
func validateChecks(list []Check) error {
	var errs []error
	seen := map[string]bool{}
	for _, check := range list {
		switch {
		case check.Name == "":
			errs = append(errs, errors.New("admin port: a check has no name"))
		case check.Probe == nil:
			errs = append(errs, fmt.Errorf("admin port: check %q has no probe", check.Name))
		case seen[check.Name]:
			errs = append(errs, fmt.Errorf("admin port: two checks are named %q", check.Name))
		}
		seen[check.Name] = true
	}
	return errors.Join(errs...)
}
