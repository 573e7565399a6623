package check_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"paydispatch/deploy/check"
)

// quiet are the dashboards' questions that must have no answer here, each with its reason.
var quiet = map[string]string{}

// expected are the alerts that the scene is made to raise; all others must be inactive. Two may be pending by chance: the
// share of calls that end unknown, whose series begin with the first such call, so that its increase may not be seen; and
// failing commits, of which a broker may refuse one while the group rebalances.
var expected = map[string][]string{
	"PaydispatchDeadLetters":    {"firing"}, // the sample has commands that nobody can execute
	"PaydispatchCallbackForged": {"firing"}, // more than twenty were sent
	"PaydispatchStoreLost":      {"firing"}, // Redis was made to forget
	"PaydispatchVendorUnknown":  {"inactive", "pending"},
	"PaydispatchCommitFailing":  {"inactive", "pending"},
}

// seededRules are rules that Prometheus loads and cannot evaluate, or whose annotations cannot be written.
const seededRules = `groups:
- name: seeded
  rules:
  - alert: SeededManyToMany
    expr: paydispatch_running_handlers / on (job) paydispatch_running_handlers
  - alert: SeededAnnotation
    expr: up == 1
    annotations:
      summary: "{{ $labels.topic }} of {{ $labels.pod }}"
      description: "{{ (index (query \"up\") 99).Value }}"
`

// live is a Prometheus that has watched the scene from before the first command.
type live struct {
	*check.Prometheus
	tree   check.Tree
	scene  *check.Scene
	prod   check.Overlay
	window check.Window
	ctx    context.Context
}

// TestARealPrometheus scrapes the sandbox's services by the PodMonitor, with the product's rules, while a sample runs, a
// dispatcher leaves and Redis forgets; then it asks whatever dashboards and alerts ask.
func TestARealPrometheus(t *testing.T) {
	t.Parallel()
	l := watch(t)
	t.Run("every panel has an answer", func(t *testing.T) {
		requireNone(t, l.tree.AskDashboards(l.ctx, l.Prometheus, l.window, quiet))
	})
	t.Run("every alert's expression is understood", func(t *testing.T) {
		requireNone(t, l.tree.AskAlerts(l.ctx, l.Prometheus, l.window))
	})
	t.Run("what happened raises its alerts and no others", l.alerts)
	t.Run("seeded faults are found", l.faults)
	t.Run("a PodMonitor that misses the pods", l.missed)
	t.Run("every histogram is native too", l.native)
}

func watch(t *testing.T) *live {
	t.Helper()
	l := &live{tree: tree(t)}
	var cancel context.CancelFunc
	l.ctx, cancel = context.WithTimeout(scope, 4*time.Minute)
	t.Cleanup(cancel)
	overlays, found := l.tree.Overlays()
	requireNone(t, found)
	l.prod = overlays[slices.IndexFunc(overlays, func(o check.Overlay) bool { return o.Name == "prod" })]
	var err error
	l.scene, err = check.StartScene(l.ctx, l.tree.Code)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := l.scene.Close(); err != nil {
			t.Error(err)
		}
	})
	rules, err := l.tree.PlainRules()
	require.NoError(t, err)
	l.Prometheus = l.start(t, l.prod, map[string][]byte{"rules.yaml": rules, "seeded.yaml": []byte(seededRules)})
	t.Logf("Prometheus %s", l.Version)

	// What is counted from here on was seen at zero.
	l.until(t, func() error { return first(l.Scraped(l.ctx, l.scene.Pods(), "paydispatch")) })
	l.window.From = time.Now().Truncate(time.Second)
	require.NoError(t, l.scene.Tell(l.ctx))
	require.NoError(t, l.scene.Forge(l.ctx, 30))
	require.NoError(t, l.scene.StopSecond())
	require.NoError(t, l.scene.Forget(l.ctx))
	require.NoError(t, l.scene.Order(l.ctx))
	l.until(t, func() error {
		states, _ := l.RuleHealth(l.ctx)
		return first(unexpected(states))
	})
	l.window.To = time.Now()
	return l
}

// start starts a Prometheus that scrapes the scene as the overlay's PodMonitor says.
func (l *live) start(t *testing.T, o check.Overlay, rules map[string][]byte, flags ...string) *check.Prometheus {
	t.Helper()
	config, err := o.ScrapeConfig(l.scene.Pods(), slices.Sorted(maps.Keys(rules)))
	require.NoError(t, err)
	p, err := check.StartPrometheus(l.ctx, t.TempDir(), config, rules, flags...)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (l *live) until(t *testing.T, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(l.ctx, time.Minute)
	defer cancel()
	require.NoError(t, check.Until(ctx, try))
}

func (l *live) alerts(t *testing.T) {
	states, found := l.RuleHealth(l.ctx)
	requireNone(t, slices.DeleteFunc(found, func(f check.Finding) bool { return strings.HasPrefix(f.Where, "rule Seeded") }))
	requireNone(t, unexpected(states))
	for name := range expected {
		require.Contains(t, states, name)
	}
}

// unexpected compares the states of the product's alerts with what the scene is made to raise.
func unexpected(states map[string]string) []check.Finding {
	var found []check.Finding
	for name, state := range states {
		want := expected[name]
		if want == nil {
			want = []string{"inactive"}
		}
		if !strings.HasPrefix(name, "Seeded") && !slices.Contains(want, state) {
			found = append(found, check.Finding{Where: name, Says: "is " + state})
		}
	}
	if len(states) == 0 {
		found = append(found, check.Finding{Where: "rules", Says: "there are none"})
	}
	return found
}

// faults seeds faults that the reading checks cannot see, or sees to it that this one would see them too.
func (l *live) faults(t *testing.T) {
	for name, f := range map[string]fault{
		"a renamed metric": {
			"k8s/components/monitoring/dashboards/lanes.json", "paydispatch_held_partitions", "paydispatch_holding_partitions",
			"lanes.json, Partitions waiting for a due time, A: comes back empty",
		},
		"a panel that asks for what never is": {
			"k8s/components/monitoring/dashboards/promises.json", `kind=\"unresolved\"`, `kind=\"unsettled\"`,
			"promises.json, Unresolved, A: comes back empty",
		},
		"a panel of another job": {
			"k8s/components/monitoring/dashboards/lanes.json", `job=~\"dispatcher|callback-ingest\"`, `job=~\"paydispatch\"`,
			"lanes.json, CPU, A: comes back empty",
		},
		"a panel with a typing mistake": {
			"k8s/components/monitoring/dashboards/lanes.json", "sum by (topic) (rate(paydispatch_fetched_bytes_total", "sum by (topic (rate(paydispatch_fetched_bytes_total",
			"lanes.json, Fetched bytes, A: bad_data",
		},
		"a variable that is not there": {
			"k8s/components/monitoring/dashboards/promises.json", `topic=~\"$topic\"`, `topic=~\"$topics\"`,
			"promises.json, Results by kind, A: a variable that the dashboard does not have",
		},
		"a variable without a value": {
			"k8s/components/monitoring/dashboards/lanes.json", "label_values(paydispatch_results_total, namespace)", "label_values(paydispatch_results_totals, namespace)",
			"lanes.json variable namespace: offers no value",
		},
		"a legend with a label that is summed away": {
			"k8s/components/monitoring/dashboards/promises.json", `"{{vendor}} {{verdict}}"`, `"{{vendor}} {{pod}}"`,
			"promises.json, Callbacks by verdict, A: its legend names the label pod",
		},
		"an alert that cannot be read": {
			"k8s/components/monitoring/alerts.yaml", `(increase(paydispatch_panics_total[15m])) > 0`, `(increase(paydispatch_panics_total[15m]) > 0`,
			"rule PaydispatchPanic: bad_data",
		},
		"an alert that cannot be evaluated": {
			"k8s/components/monitoring/alerts.yaml", `min by (namespace, job, dependency) (paydispatch_reachable) == 0`, `paydispatch_reachable == on (job) paydispatch_reachable`,
			"rule PaydispatchDependencyAway: execution: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			faulty := check.Tree{Dir: seeded(t, f)}
			requireOneOf(t, append(faulty.AskDashboards(l.ctx, l.Prometheus, l.window, quiet), faulty.AskAlerts(l.ctx, l.Prometheus, l.window)...), f.found)
		})
	}
	t.Run("a question that is quiet no longer", func(t *testing.T) {
		requireOneOf(t, l.tree.AskDashboards(l.ctx, l.Prometheus, l.window, map[string]string{"lanes.json, CPU, A": "seeded", "lanes.json, GPU, A": "seeded"}),
			"lanes.json, CPU, A: has an answer", "lanes.json, GPU, A: is no question of a dashboard")
	})
	t.Run("rules that fail when they are evaluated", func(t *testing.T) {
		_, found := l.RuleHealth(l.ctx)
		requireOneOf(t, found, "rule SeededManyToMany: its health is err: ", "rule SeededAnnotation: its description reads: <error expanding template",
			"rule SeededAnnotation: its summary names the label topic, which")
	})
}

// missed starts a Prometheus for PodMonitors with a mistake.
func (l *live) missed(t *testing.T) {
	for name, f := range map[string]fault{
		"another port":     {"k8s/components/monitoring/podmonitor.yaml", "port: admin", "port: metrics", "targets: 0 are scraped for 3 pods"},
		"another label":    {"k8s/components/monitoring/podmonitor.yaml", "part-of: paydispatch", "part-of: payments", "targets: 0 are scraped for 3 pods"},
		"another job":      {"k8s/components/monitoring/podmonitor.yaml", "jobLabel: app.kubernetes.io/name", "jobLabel: app.kubernetes.io/part-of", "0 targets are scraped for it, not one"},
		"not Prometheus's": {"k8s/components/monitoring/podmonitor.yaml", "path: /metrics", "path: /metric", "0 targets are scraped for it, not one"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overlays, _ := check.Tree{Dir: seeded(t, f)}.Overlays()
			p := l.start(t, overlays[slices.IndexFunc(overlays, func(o check.Overlay) bool { return o.Name == "prod" })], map[string][]byte{})
			l.until(t, func() error { return p.Looked(l.ctx) })
			requireOneOf(t, p.Scraped(l.ctx, l.scene.Pods(), "paydispatch"), f.found)
		})
	}
}

// native scrapes in protobuf. Prometheus 2.42, Debian 12's, then keeps the native form of a histogram only, hence a
// server of its own.
func (l *live) native(t *testing.T) {
	t.Parallel()
	p := l.start(t, l.prod, map[string][]byte{}, "--enable-feature=native-histograms")
	l.until(t, func() error { return first(p.Native(l.ctx, l.tree.Code)) })
}

func TestAMissingPrometheusIsAFailureThatSaysWhatToDo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := check.StartPrometheus(t.Context(), t.TempDir(), nil, map[string][]byte{})
	require.EqualError(t, err, "prometheus is missing: scripts/kube-install installs it")
}

// seeded is a copy of the deploy folder with a fault.
func seeded(t *testing.T, f fault) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("..")))
	path := filepath.Join(dir, filepath.FromSlash(f.file))
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(raw), f.from, "the fault no longer fits the file")
	require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(string(raw), f.from, f.to)), 0o600))
	return dir
}

func first(found []check.Finding) error {
	var errs []error
	for _, f := range found {
		errs = append(errs, errors.New(f.String()))
	}
	return errors.Join(errs...)
}

func requireNone(t *testing.T, found []check.Finding) {
	t.Helper()
	require.NoError(t, first(found))
}

func requireOneOf(t *testing.T, found []check.Finding, want ...string) {
	t.Helper()
	var all []string
	for _, f := range found {
		all = append(all, f.String())
	}
	for _, w := range want {
		require.Contains(t, strings.Join(all, "\n"), w)
	}
}
