package limit_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/handover"
	"paydispatch/internal/vendors"
	"paydispatch/internal/vendors/limit"
)

// Whoever waits for a turn when its partition is handed over makes no call any more, and is no fault of the vendor's.
func TestAHandoverEndsTheWaitForATurn(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]limit.Config{
		"a place":            {InFlight: 1},
		"the rate":           {Rate: 0.1, Burst: 1},
		"the quota":          {Quota: &quota{wait: 10 * time.Second}},
		"nothing, but later": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				over, begin := context.WithCancel(t.Context())
				ctx := handover.With(t.Context(), over)
				release := make(chan struct{})
				first := &vendor{do: func() error { <-release; return nil }}
				config.Vendor, config.MaxWait = "v", time.Minute
				config.Breaker = limit.Breaker{MinCalls: 1, Faults: 0.1, Window: time.Minute, Open: time.Minute}
				config.Observe.Breaker = func(_, _, state string) { require.FailNow(t, "the breaker is "+state) }
				limits := limit.New(config)
				if name != "the quota" {
					go func() { _ = send(limits.Sender("m", first)) }()
					synctest.Wait()
				}
				if name == "nothing, but later" {
					begin()
				}
				second := &vendor{}
				ended := make(chan error, 1)
				go func() {
					_, err := limits.Sender("m", second).Send(ctx, commands.Command{})
					ended <- err
				}()
				synctest.Wait()
				began := time.Now()
				begin()
				requirePutOff(t, <-ended, vendors.CodeHandedOver)
				require.Zero(t, time.Since(began))
				require.Zero(t, second.calls.Load())
				close(release)
			})
		})
	}
}
