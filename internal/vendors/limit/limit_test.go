package limit_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/limit"
)

type vendor struct {
	calls atomic.Int32
	do    func() error
}

func (v *vendor) Send(context.Context, commands.Command) (commands.Reply, error) {
	v.calls.Add(1)
	if v.do == nil {
		return commands.Reply{Status: commands.StatusSucceeded}, nil
	}
	return commands.Reply{}, v.do()
}

func send(s vendors.Sender) error {
	_, err := s.Send(context.Background(), commands.Command{})
	return err
}

func requirePutOff(t *testing.T, err error, code string) {
	t.Helper()
	require.Equal(t, commands.ClassRetryable, vendors.ClassOf(err), "nothing was sent")
	require.Equal(t, code, vendors.CodeOf(err))
}

func TestBreakerOpensAndComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := true
		v := &vendor{do: func() error {
			if down {
				return &vendors.Error{Class: commands.ClassUnknown, Code: "timeout", Err: errors.New("x")}
			}
			return nil
		}}
		var states []string
		s := limit.New(limit.Config{
			Vendor: "v", Breaker: limit.Breaker{MinCalls: 5, Faults: 0.5, Window: 10 * time.Second, Open: 3 * time.Second},
			Observe: limit.Observer{Breaker: func(_, _, state string) { states = append(states, state) }},
		}).Sender("m", v)
		for range 5 {
			require.Equal(t, "timeout", vendors.CodeOf(send(s)))
		}
		for range 100 {
			requirePutOff(t, send(s), limit.CodeBreakerOpen)
		}
		require.EqualValues(t, 5, v.calls.Load(), "an open breaker lets nothing through")
		down = false
		time.Sleep(3*time.Second + time.Millisecond)
		for range 10 {
			require.NoError(t, send(s))
		}
		require.Equal(t, []string{"open", "half-open", "closed"}, states)
	})
}

// A refusal is an answer and a cancelled call says nothing: neither opens the breaker.
func TestBreakerCountsFaultsOnly(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"permanent": &vendors.Error{Class: commands.ClassPermanent, Err: errors.New("x")},
		"cancelled": &vendors.Error{Err: context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := &vendor{do: func() error { return err }}
			s := limit.New(limit.Config{Breaker: limit.Breaker{MinCalls: 2, Faults: 0.5, Window: time.Minute, Open: time.Minute}}).Sender("m", v)
			for range 20 {
				require.ErrorIs(t, send(s), err)
			}
			require.EqualValues(t, 20, v.calls.Load())
		})
	}
}

func TestRateWaitsAShortWhileAndPutsOffTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &vendor{}
		s := limit.New(limit.Config{Rate: 10, Burst: 1, MaxWait: 150 * time.Millisecond}).Sender("m", v)
		began := time.Now()
		require.NoError(t, send(s))
		require.NoError(t, send(s))
		require.Equal(t, 100*time.Millisecond, time.Since(began))
		results := make(chan error, 3)
		for range 3 {
			go func() { results <- send(s) }()
		}
		put := 0
		for range 3 {
			if err := <-results; err != nil {
				requirePutOff(t, err, limit.CodeRateLimited)
				put++
			}
		}
		require.Equal(t, 2, put, "one finds its turn within the wait, the others do not")
	})
}

// A vendor that hangs uses up its own places and nobody else's.
func TestInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		slow := &vendor{do: func() error { <-hang; return nil }}
		l := limit.New(limit.Config{InFlight: 2, MaxWait: time.Second})
		s := l.Sender("m", slow)
		done := make(chan error, 2)
		for range 2 {
			go func() { done <- send(s) }()
		}
		synctest.Wait()
		requirePutOff(t, send(s), limit.CodeBusy)
		require.NoError(t, send(limit.New(limit.Config{InFlight: 2}).Sender("m", &vendor{})))
		close(hang)
		require.NoError(t, <-done)
		require.NoError(t, <-done)
		require.NoError(t, send(s), "places come back")
	})
}

type quota struct {
	wait time.Duration
	err  error
	name string
}

func (q *quota) Take(_ context.Context, name string, _ time.Duration) (time.Duration, error) {
	q.name = name
	return q.wait, q.err
}

func TestSharedQuota(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, v := &quota{}, &vendor{}
		s := limit.New(limit.Config{Vendor: "v", Quota: q, MaxWait: time.Second}).Sender("m", v)
		require.NoError(t, send(s))
		require.Equal(t, "v/m", q.name)
		q.wait = 500 * time.Millisecond
		began := time.Now()
		require.NoError(t, send(s))
		require.Equal(t, q.wait, time.Since(began))
		q.wait = 2 * time.Second
		err := send(s)
		requirePutOff(t, err, limit.CodeRateLimited)
		e, _ := errors.AsType[*vendors.Error](err)
		require.Equal(t, q.wait, e.RetryAfter)
		q.err = errors.New("redis away")
		requirePutOff(t, send(s), limit.CodeNoQuota)
		require.EqualValues(t, 2, v.calls.Load())
	})
}

// Whoever calls a method shares its limits, and what watches it hears of the method before its first call.
func TestAMethodHasOneGate(t *testing.T) {
	t.Parallel()
	var gates []string
	limits := limit.New(limit.Config{
		Vendor: "v", Breaker: limit.Breaker{MinCalls: 2, Faults: 0.5, Window: time.Minute, Open: time.Minute},
		Observe: limit.Observer{Gate: func(vendor, method string) { gates = append(gates, vendor+"/"+method) }},
	})
	failing := &vendor{do: func() error {
		return &vendors.Error{Class: commands.ClassUnknown, Code: "timeout", Err: errors.New("x")}
	}}
	one, other, another := limits.Sender("m", failing), limits.Sender("m", failing), limits.Sender("n", failing)
	require.Equal(t, []string{"v/m", "v/n"}, gates)
	for range 2 {
		require.Equal(t, "timeout", vendors.CodeOf(send(one)))
	}
	requirePutOff(t, send(other), limit.CodeBreakerOpen)
	require.Equal(t, "timeout", vendors.CodeOf(send(another)))
}

// asks is an adapter whose every call the test writes down.
type asks func() (commands.Reply, error)

func (f asks) Ask(context.Context, commands.Command) (commands.Reply, error) { return f() }

// ask makes a call, and returns what it panicked with.
func ask(a vendors.Asker) (panicked any, err error) {
	defer func() { panicked = recover() }()
	_, err = a.Ask(context.Background(), commands.Command{})
	return nil, err
}

// A call that panics gives its place back, and the panic goes on to whoever deals with it.
func TestAPanicGivesItsPlaceBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		a := limit.New(limit.Config{Vendor: "v", InFlight: 2, MaxWait: time.Second}).Asker("m", asks(func() (commands.Reply, error) {
			if calls++; calls <= 5 {
				panic("a bug")
			}
			return commands.Reply{Status: commands.StatusPending}, nil
		}))
		for range 5 {
			panicked, err := ask(a)
			require.NoError(t, err)
			require.Equal(t, "a bug", panicked)
		}
		panicked, err := ask(a)
		require.NoError(t, err, "places are given back")
		require.Nil(t, panicked)
	})
}

// A half-open breaker lets a few calls through to find out; those that panic are its answer, and not lost to it.
func TestAPanicIsAFaultToTheBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var states []string
		fault := func() (commands.Reply, error) {
			return commands.Reply{}, &vendors.Error{Code: "timeout", Err: errors.New("x")}
		}
		does := fault
		a := limit.New(limit.Config{
			Vendor: "v", Breaker: limit.Breaker{MinCalls: 2, Faults: 0.5, Window: 10 * time.Second, Open: 5 * time.Second},
			Observe: limit.Observer{Breaker: func(_, _, state string) { states = append(states, state) }},
		}).Asker("m", asks(func() (commands.Reply, error) { return does() }))
		for range 3 {
			_, _ = ask(a)
		}
		does = func() (commands.Reply, error) { panic("a bug that one reply wakes") }
		time.Sleep(6 * time.Second)
		for range 3 {
			_, _ = ask(a)
		}
		require.Equal(t, []string{"open", "half-open", "open"}, states)
		does = func() (commands.Reply, error) { return commands.Reply{Status: commands.StatusPending}, nil }
		time.Sleep(6 * time.Second)
		for range 3 {
			_, err := ask(a)
			require.NoError(t, err)
		}
		require.Equal(t, []string{"open", "half-open", "open", "half-open", "closed"}, states)
	})
}

// A quota that panics holds no place either.
func TestAPanicBeforeTheCallGivesItsPlaceBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		quota := &brokenQuota{broken: true}
		a := limit.New(limit.Config{Vendor: "v", InFlight: 1, MaxWait: time.Second, Quota: quota}).Asker("m", asks(func() (commands.Reply, error) {
			return commands.Reply{Status: commands.StatusPending}, nil
		}))
		panicked, _ := ask(a)
		require.NotNil(t, panicked)
		quota.broken = false
		_, err := ask(a)
		require.NoError(t, err)
	})
}

type brokenQuota struct{ broken bool }

func (q *brokenQuota) Take(context.Context, string, time.Duration) (time.Duration, error) {
	if q.broken {
		panic("a bug")
	}
	return 0, nil
}
