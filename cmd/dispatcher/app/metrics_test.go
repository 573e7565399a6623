package app

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"paydispatch/cmd/internal/metric"
	"paydispatch/internal/commands"
	"paydispatch/internal/stream"
	"paydispatch/internal/stream/kafkastream"
	"paydispatch/internal/vendors/catalog"
	"paydispatch/internal/vendors/limit"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	m := newMetrics(metric.NewSet(reg))
	m.touch("withhold.request", []string{"withhold.request", "withhold.request.delay.5s"})
	o := m.operations.Observer(catalog.Withhold())
	l := m.limits()
	l.Gate("withhold", "single-withhold")
	require.Zero(t, value(t, reg, "paydispatch_results_total", "topic=withhold.request", "kind=unresolved"), "an alarm sees a zero first")

	for name, labels := range map[string]string{
		"paydispatch_breaker_open":           "method=single-withhold",
		"paydispatch_put_off_calls_total":    "code=breaker_open",
		"paydispatch_running_handlers":       "topic=withhold.request.delay.5s",
		"paydispatch_store_conflicts_total":  "topic=withhold.request",
		"paydispatch_resends_total":          "topic=withhold.request",
		"paydispatch_end_to_end_seconds":     "kind=unresolved",
		"paydispatch_open_age_seconds":       "phase=asking",
		"paydispatch_dead_letters_total":     "reason=panic",
		"paydispatch_handler_failures_total": "topic=withhold.request",
		"paydispatch_store_losses_total":     "",
	} {
		if labels == "" {
			require.Zero(t, value(t, reg, name))
			continue
		}
		require.Zero(t, value(t, reg, name, labels), name)
	}
	o.Called("send", "succeeded", time.Second)
	o.Published(commands.KindSucceeded)
	o.Parked(commands.Asking, time.Minute)
	o.Asked(commands.Pending, time.Hour)
	o.Announced(commands.KindSucceeded, -time.Second) // the broker's clock was ahead
	o.Resent()
	o.Conflicted()
	l.Breaker("withhold", "single-withhold", "open")
	l.PutOff("withhold", "single-withhold", limit.CodeBusy)
	d := m.dispatch()
	d.Finished("withhold.request", "succeeded", time.Second)
	d.Rejected("withhold.request")
	d.DeadLettered("withhold.request", "invalid")
	d.Panicked("withhold.request")
	d.Waits("withhold.request")
	s := m.stream()
	s.Fetched("withhold.request", 3, 300)
	s.Running("withhold.request", 1)
	s.Holding("withhold.request.delay.5s", 1)
	s.Handled("withhold.request", time.Second, nil)
	s.Handled("withhold.request", time.Second, errors.New("redis is away"))
	s.FetchFailed("withhold.request")
	s.CommitFailed()
	s.Drained(stream.Drain{Took: time.Second, Left: 3, Again: 4, Cut: 2})
	m.gap(kafkastream.Gap{Topic: "withhold.request"})
	m.backlog("withhold.request", 1, 42)
	m.lost.note("withhold.request", errors.New("deleted"))
	m.outside.note(errors.New("no right"))

	for _, want := range []struct {
		name   string
		labels []string
		is     float64
	}{
		{"paydispatch_vendor_call_seconds", []string{"call=send", "outcome=succeeded"}, 1},
		{"paydispatch_results_total", []string{"kind=succeeded"}, 1},
		{"paydispatch_results_total", []string{"kind=rejected"}, 1},
		{"paydispatch_open_age_seconds", []string{"step=park", "phase=asking"}, 1},
		{"paydispatch_open_age_seconds", []string{"step=ask", "phase=pending"}, 1},
		{"paydispatch_end_to_end_seconds", []string{"kind=succeeded"}, 1},
		{"paydispatch_asks_total", nil, 1},
		{"paydispatch_resends_total", nil, 1},
		{"paydispatch_store_conflicts_total", nil, 1},
		{"paydispatch_breaker_open", nil, 1},
		{"paydispatch_put_off_calls_total", []string{"code=vendor_busy"}, 1},
		{"paydispatch_parked_total", []string{"phase=asking"}, 1},
		{"paydispatch_command_seconds", []string{"outcome=succeeded"}, 1},
		{"paydispatch_dead_letters_total", []string{"reason=invalid"}, 1},
		{"paydispatch_newer_version_waits_total", []string{"topic=withhold.request"}, 1},
		{"paydispatch_panics_total", []string{"topic=withhold.request"}, 1},
		{"paydispatch_fetched_messages_total", []string{"topic=withhold.request"}, 3},
		{"paydispatch_fetched_bytes_total", []string{"topic=withhold.request"}, 300},
		{"paydispatch_running_handlers", []string{"topic=withhold.request"}, 1},
		{"paydispatch_held_partitions", []string{"topic=withhold.request.delay.5s"}, 1},
		{"paydispatch_handler_failures_total", nil, 1},
		{"paydispatch_fetch_failures_total", nil, 1},
		{"paydispatch_commit_failures_total", nil, 1},
		{"paydispatch_drain_seconds", nil, 1},
		{"paydispatch_undrained_messages_total", nil, 2},
		{"paydispatch_handed_over_messages_total", []string{"state=left"}, 3},
		{"paydispatch_handed_over_messages_total", []string{"state=finished"}, 4},
		{"paydispatch_offset_gaps_total", nil, 1},
		{"paydispatch_backlog_messages", []string{"partition=1"}, 42},
		{"paydispatch_outside_group", nil, 1},
		{"paydispatch_topic_lost", []string{"topic=withhold.request"}, 1},
	} {
		require.InDelta(t, want.is, value(t, reg, want.name, want.labels...), 0, want.name)
	}
}

// value is a series' counter, gauge or, of a histogram, the number of observations.
func value(t *testing.T, reg prometheus.Gatherer, name string, labels ...string) float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && fits(m, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	require.Fail(t, "no series "+name+" with "+strings.Join(labels, ", "))
	return 0
}

func fits(m *dto.Metric, labels []string) bool {
	has := map[string]bool{}
	for _, l := range m.GetLabel() {
		has[l.GetName()+"="+l.GetValue()] = true
	}
	for _, l := range labels {
		if !has[l] {
			return false
		}
	}
	return true
}
