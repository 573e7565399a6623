package metric

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"paydispatch/internal/commands"
	"paydispatch/internal/stream"
)

// gather returns what a registry shows, by name.
func gather(t *testing.T, r prometheus.Gatherer) map[string]*dto.MetricFamily {
	t.Helper()
	all := map[string]*dto.MetricFamily{}
	families, err := r.Gather()
	require.NoError(t, err)
	for _, f := range families {
		all[f.GetName()] = f
	}
	return all
}

// TestTheTableIsWhatIsShown: name, type, help and labels as a scrape has them.
func TestTheTableIsWhatIsShown(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	set := NewSet(reg)
	set.Histogram("b_seconds", "How long.", Short(), "x", "y").WithLabelValues("1", "2").Observe(1)
	set.Counter("c_total", "How often.").WithLabelValues().Inc()
	set.Gauge("a_things", "How many.", "x").WithLabelValues("1").Set(1)
	var table strings.Builder
	require.NoError(t, set.Table(&table))
	require.Equal(t, "| metric | type | labels | meaning |\n|---|---|---|---|\n"+
		"| `a_things` | gauge | `x` | How many. |\n"+
		"| `b_seconds` | histogram | `x`, `y` | How long. |\n"+
		"| `c_total` | counter |  | How often. |\n", table.String())
	shown := gather(t, reg)
	for _, d := range set.made {
		f := shown[d.name]
		require.NotNil(t, f, d.name)
		require.Equal(t, d.kind, strings.ToLower(f.GetType().String()))
		require.Equal(t, d.help, f.GetHelp())
		require.Len(t, f.GetMetric()[0].GetLabel(), len(d.labels))
		for i, l := range f.GetMetric()[0].GetLabel() {
			require.Equal(t, d.labels[i], l.GetName())
		}
	}
}

func TestHistogramsAreNativeAndClassic(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	h := NewSet(reg).Histogram("h_seconds", "How long.", Long()).WithLabelValues()
	for i := range 10_000 {
		h.Observe(float64(i) * float64(i))
	}
	got := gather(t, reg)["h_seconds"].GetMetric()[0].GetHistogram()
	require.Len(t, got.GetBucket(), len(Long()))
	require.NotEmpty(t, got.GetPositiveSpan(), "native buckets")
	native := 0
	for _, s := range got.GetPositiveSpan() {
		native += int(s.GetLength())
	}
	require.LessOrEqual(t, native, nativeBuckets, "and not without bounds")
}

// TestASeriesStandsBeforeItsFirstEvent, or its first increment would be lost to rate().
func TestASeriesStandsBeforeItsFirstEvent(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	NewOperations(NewSet(reg)).Observer(commands.Spec{Topic: "t", Effect: commands.EffectMoney})
	shown := gather(t, reg)
	for name, series := range map[string]int{
		"paydispatch_results_total": len(commands.Kinds()), "paydispatch_end_to_end_seconds": 3, "paydispatch_asks_total": 1,
		"paydispatch_resends_total": 1, "paydispatch_open_age_seconds": 8, "paydispatch_parked_total": 5,
		"paydispatch_store_conflicts_total": 1, "paydispatch_store_losses_total": 1, "paydispatch_store_backs_total": 1, "paydispatch_publish_seconds": 3,
	} {
		require.Len(t, shown[name].GetMetric(), series, name)
	}
}

type publishing func(context.Context) error

func (p publishing) Publish(ctx context.Context, _ ...stream.Message) error { return p(ctx) }

func TestPublisherMeasures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewPedanticRegistry()
		var fails error
		p := NewOperations(NewSet(reg)).Publisher(publishing(func(context.Context) error {
			time.Sleep(time.Second)
			return fails
		}))
		require.NoError(t, p.Publish(t.Context()))
		fails = errors.New("away")
		require.ErrorIs(t, p.Publish(t.Context()), fails)
		require.ErrorIs(t, p.Publish(t.Context()), fails)
		fails = fmt.Errorf("a dead letter: %w", stream.ErrTooLarge)
		require.ErrorIs(t, p.Publish(t.Context()), fails)
		for _, m := range gather(t, reg)["paydispatch_publish_seconds"].GetMetric() {
			want := map[string]float64{"published": 1, "failed": 2, "too_large": 1}[m.GetLabel()[0].GetValue()]
			require.InDelta(t, want, m.GetHistogram().GetSampleSum(), 0)
			require.InDelta(t, want, float64(m.GetHistogram().GetSampleCount()), 0)
		}
	})
}
