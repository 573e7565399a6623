package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// Window is the time that a dashboard shows.
type Window struct{ From, To time.Time }

// board is a dashboard as Grafana asks for its data.
type board struct {
	Templating struct {
		List []struct {
			Name, Type, Query, AllValue string
			IncludeAll                  bool
		}
	}
	Panels []struct {
		Title   string
		Targets []struct {
			RefID, Expr, LegendFormat string
			Instant                   bool
		}
	}
}

// AskDashboards asks Prometheus every question of every dashboard, with each variable at All and at every value that it
// offers, and finds those that it refuses, warns about, or answers with nothing. quiet are the questions that must have no
// answer, by dashboard, panel and refId, each with its reason.
func (t Tree) AskDashboards(ctx context.Context, p *Prometheus, w Window, quiet map[string]string) []Finding {
	var found findings
	files, err := filepath.Glob(t.path("k8s/components/monitoring/dashboards/*.json"))
	found.fail("dashboards", err)
	if len(files) == 0 {
		found.add("dashboards", "there are none")
	}
	left := map[string]bool{}
	for name := range quiet {
		left[name] = true
	}
	for _, file := range files {
		var b board
		raw, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(raw, &b)
		}
		found.fail(filepath.Base(file), err)
		found = append(found, b.ask(ctx, p, w, filepath.Base(file), func(question string) bool {
			delete(left, question)
			return quiet[question] != ""
		})...)
	}
	for name := range left {
		found.add(name, "is no question of a dashboard")
	}
	return found
}

func (b board) ask(ctx context.Context, p *Prometheus, w Window, name string, quiet func(question string) bool) []Finding {
	all, picked, problems := b.variables(ctx, p, w, name)
	found := findings(problems)
	for _, panel := range b.Panels {
		for _, target := range panel.Targets {
			question := fmt.Sprintf("%s, %s, %s", name, panel.Title, target.RefID)
			silent := quiet(question)
			for _, v := range []values{all, picked} {
				expr := v.in(target.Expr)
				if strings.Contains(expr, "$") {
					found.add(question, "a variable that the dashboard does not have in %s", expr)
					break
				}
				answered, err := p.data(ctx, expr, w, target.Instant)
				if err != nil {
					found.fail(question, err)
					break
				}
				if silent != (len(answered) == 0) {
					found.add(question, "%s", map[bool]string{true: "has an answer, against what the test says", false: "comes back empty: " + expr}[silent])
					break
				}
				found = append(found, legend(question, target.LegendFormat, answered)...)
			}
		}
	}
	return found
}

var legendLabel = regexp.MustCompile(`\{\{ *([a-z_]+) *\}\}`)

// legend looks for labels that a legend names and the series do not have.
func legend(question, format string, series []model.Metric) []Finding {
	var found findings
	for _, m := range legendLabel.FindAllStringSubmatch(format, -1) {
		for _, s := range series {
			if _, ok := s[model.LabelName(m[1])]; !ok {
				found.add(question, "its legend names the label %s, which %s does not have", m[1], s)
				break
			}
		}
	}
	return found
}

// step is the time between two points of a panel.
const step = time.Second

// values are what is put in for variables.
type values map[string]string

var variable = regexp.MustCompile(`\$(\w+)`)

// in replaces the variables that have a value.
func (v values) in(expr string) string {
	return variable.ReplaceAllStringFunc(expr, func(name string) string {
		if value, ok := v[name[1:]]; ok {
			return value
		}
		return name
	})
}

// variables are what Grafana puts in: for All, and for every value that a variable's own query offers, marked one by one.
func (b board) variables(ctx context.Context, p *Prometheus, w Window, name string) (all, picked values, found findings) {
	ms := func(d time.Duration) string { return fmt.Sprintf("%dms", d.Milliseconds()) }
	all = values{"__rate_interval": ms(max(step+ScrapeEvery, 4*ScrapeEvery)), "__range": ms(w.To.Sub(w.From)), "__interval": ms(step)}
	picked = maps.Clone(all)
	for _, v := range b.Templating.List {
		if v.Type != "query" {
			continue
		}
		where := name + " variable " + v.Name
		m := labelValues.FindStringSubmatch(v.Query)
		if m == nil {
			found.add(where, "its query is not label_values(metric, label)")
			continue
		}
		metric := all.in(m[1])
		offered, warnings, err := p.LabelValues(ctx, m[2], []string{metric}, w.From, w.To)
		found.fail(where, problem(metric, warnings, err))
		if len(offered) == 0 {
			found.add(where, "offers no value")
		}
		var marked []string
		for _, value := range offered {
			marked = append(marked, escaped.ReplaceAllString(string(value), `\\$0`))
		}
		if v.IncludeAll && v.AllValue == "" {
			found.add(where, "All has no value of its own, and would name every one")
		}
		all[v.Name], picked[v.Name] = v.AllValue, "("+strings.Join(marked, "|")+")"
	}
	return all, picked, found
}

// escaped is what Grafana writes two backslashes before in a value that may be one of several: one for the string, one for
// the regular expression.
var escaped = regexp.MustCompile(`[$^*{}\[\]'+?.()|]`)

// data asks one question and returns the labels of the series that have at least one number in the answer.
func (p *Prometheus) data(ctx context.Context, expr string, w Window, instant bool) ([]model.Metric, error) {
	var (
		value    model.Value
		warnings promv1.Warnings
		err      error
	)
	if instant {
		value, warnings, err = p.Query(ctx, expr, w.To)
	} else {
		value, warnings, err = p.QueryRange(ctx, expr, promv1.Range{Start: w.From, End: w.To, Step: step})
	}
	if err := problem(expr, warnings, err); err != nil {
		return nil, err
	}
	var found []model.Metric
	switch v := value.(type) {
	case model.Vector:
		for _, s := range v {
			if s.Histogram != nil || !math.IsNaN(float64(s.Value)) {
				found = append(found, s.Metric)
			}
		}
	case model.Matrix:
		for _, s := range v {
			for _, point := range s.Values {
				if !math.IsNaN(float64(point.Value)) {
					found = append(found, s.Metric)
					break
				}
			}
		}
	default:
		return nil, fmt.Errorf("%s: is a %s, no series", expr, value.Type())
	}
	return found, nil
}

// problem makes an error of what Prometheus complains about.
func problem(expr string, warnings promv1.Warnings, err error) error {
	if err != nil {
		return fmt.Errorf("%w in %s", err, expr)
	}
	if len(warnings) > 0 {
		return fmt.Errorf("%s in %s", strings.Join(warnings, "; "), expr)
	}
	return nil
}

// AskAlerts asks Prometheus every expression of the rules, and finds those that it refuses or warns about. That one has no
// answer is no fault: most days none has.
func (t Tree) AskAlerts(ctx context.Context, p *Prometheus, w Window) []Finding {
	groups, problems := t.rules()
	found := findings(problems)
	for _, g := range groups {
		for _, r := range g.Rules {
			for _, instant := range []bool{true, false} {
				if _, err := p.data(ctx, r.Expr, w, instant); err != nil {
					found.fail("rule "+r.Alert+r.Record, err)
					break
				}
			}
		}
	}
	return found
}

// RuleHealth returns the state of each alert by name, and finds rules that could not be evaluated, were not yet, or whose
// annotations cannot be written.
func (p *Prometheus) RuleHealth(ctx context.Context) (states map[string]string, problems []Finding) {
	var found findings
	states = map[string]string{}
	rules, err := p.Rules(ctx)
	found.fail("rules", err)
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			switch r := r.(type) {
			case promv1.AlertingRule:
				states[r.Name] = r.State
				found = append(found, healthy("rule "+r.Name, r.Health, r.LastError)...)
				found = append(found, annotated(r)...)
			case promv1.RecordingRule:
				found = append(found, healthy("rule "+r.Name, r.Health, r.LastError)...)
			}
		}
	}
	return states, found
}

var usedLabel = regexp.MustCompile(`\$labels\.([a-z_]+)`)

// annotated finds annotations that could not be written for the alerts of a rule that are active, or name labels that
// these do not have.
func annotated(r promv1.AlertingRule) []Finding {
	var found findings
	for _, a := range r.Alerts {
		for name, text := range a.Annotations {
			if strings.Contains(string(text), "<error") {
				found.add("rule "+r.Name, "its %s reads: %s", name, text)
			}
		}
		for name, text := range r.Annotations {
			for _, m := range usedLabel.FindAllStringSubmatch(string(text), -1) {
				if _, ok := a.Labels[model.LabelName(m[1])]; !ok {
					found.add("rule "+r.Name, "its %s names the label %s, which %s does not have", name, m[1], a.Labels)
				}
			}
		}
	}
	return found
}

func healthy(where string, health promv1.RuleHealth, last string) []Finding {
	if health == promv1.RuleHealthGood {
		return nil
	}
	var found findings
	found.add(where, "its health is %s: %s", health, last)
	return found
}

// Scraped finds pods that are not scraped, or not under the labels that alerts and dashboards group by.
func (p *Prometheus) Scraped(ctx context.Context, pods []Pod, namespace string) []Finding {
	var found findings
	for _, pod := range pods {
		up := fmt.Sprintf(`up{namespace=%q, job=%q, pod=%q, container=%q, endpoint="admin"} == 1`, namespace, pod.Service, pod.Name, pod.Service)
		answer, err := p.data(ctx, up, Window{To: time.Now()}, true)
		found.fail(pod.Name, err)
		if err == nil && len(answer) != 1 {
			found.add(pod.Name, "%d targets are scraped for it, not one: %s", len(answer), up)
		}
	}
	targets, err := p.Targets(ctx)
	found.fail("targets", err)
	if err == nil && len(targets.Active) != len(pods) {
		found.add("targets", "%d are scraped for %d pods, %d are dropped", len(targets.Active), len(pods), len(targets.Dropped))
	}
	return found
}

// Looked reports whether every target that is not dropped was scraped at least once.
func (p *Prometheus) Looked(ctx context.Context) error {
	targets, err := p.Targets(ctx)
	if err != nil {
		return err
	}
	for _, t := range targets.Active {
		if t.Health == promv1.HealthUnknown {
			return fmt.Errorf("%s was not scraped yet", t.ScrapeURL)
		}
	}
	if len(targets.Active)+len(targets.Dropped) == 0 {
		return errors.New("no target was discovered yet")
	}
	return nil
}

// Native finds histograms that are not scraped as native ones.
func (p *Prometheus) Native(ctx context.Context, code Code) []Finding {
	var found findings
	n := 0
	for name := range code.Metrics {
		base, histogram := strings.CutSuffix(name, "_bucket")
		if !histogram || !strings.HasPrefix(base, "paydispatch_") {
			continue
		}
		n++
		answer, err := p.data(ctx, "histogram_count("+base+")", Window{To: time.Now()}, true)
		found.fail(base, err)
		if err == nil && len(answer) == 0 {
			found.add(base, "is not scraped as a native histogram")
		}
	}
	if n == 0 {
		found.add("histograms", "there are none")
	}
	return found
}
