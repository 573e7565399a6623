package check

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

type ruleGroup struct {
	Name  string `json:"name"`
	Rules []rule `json:"rules"`
}

type rule struct {
	Record      string            `json:"record,omitempty"`
	Alert       string            `json:"alert,omitempty"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

const alertsFile = "k8s/components/monitoring/alerts.yaml"

// rules reads the groups of the PrometheusRule.
func (t Tree) rules() ([]ruleGroup, []Finding) {
	var found findings
	var r struct{ Spec struct{ Groups []ruleGroup } }
	raw, err := os.ReadFile(t.path(alertsFile))
	if err == nil {
		err = yaml.Unmarshal(raw, &r)
	}
	found.fail(alertsFile, err)
	return r.Spec.Groups, found
}

// PlainRules returns the rules as a file that Prometheus itself reads.
func (t Tree) PlainRules() ([]byte, error) {
	groups, found := t.rules()
	if len(found) > 0 {
		return nil, errors.New(found[0].String())
	}
	raw, err := yaml.Marshal(map[string]any{"groups": groups})
	return append([]byte("# Made from k8s/components/monitoring/alerts.yaml by 'make deploy-files'; changes belong there.\n"), raw...), err
}

// Alerts asks promtool about the rules and their cases, and looks for what it does not: that each alert has a runbook and
// a case in which it fires and one in which it is silent, and asks for metrics that are there.
func (t Tree) Alerts() []Finding {
	groups, found := t.rules()
	dir, err := os.MkdirTemp("", "rules-")
	if err != nil {
		return []Finding{{alertsFile, err.Error()}}
	}
	defer func() { _ = os.RemoveAll(dir) }()
	all := findings(found)
	all.fail(alertsFile, t.promtool(dir))
	cases, err := t.cases()
	all.fail("alerts_test.yaml", err)
	recorded := recordings(groups)
	seen := map[string]bool{}
	for _, g := range groups {
		for _, r := range g.Rules {
			where := "rule " + r.Alert + r.Record
			if seen[where] {
				all.add(where, "stands there twice")
			}
			seen[where] = true
			all = append(all, t.Code.query(where, r.Expr, recorded)...)
			if r.Alert != "" {
				all = append(all, alert(where, r, cases)...)
			}
		}
	}
	for name := range cases {
		if !seen["rule "+name] {
			all.add("alerts_test.yaml", "has a case of %s, an alert that is not there", name)
		}
	}
	return all
}

// alert checks one alert's labels, annotations and cases.
func alert(where string, r rule, cases map[string]tested) []Finding {
	var found findings
	if !slices.Contains([]string{"critical", "warning"}, r.Labels["severity"]) {
		found.add(where, "its severity is %q, not critical or warning", r.Labels["severity"])
	}
	if want := "docs/operations.md#" + strings.ToLower(r.Alert); r.Annotations["runbook_url"] != want {
		found.add(where, "its runbook_url is %q, not %q", r.Annotations["runbook_url"], want)
	}
	if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
		found.add(where, "has no summary or no description")
	}
	if !cases[r.Alert].fires {
		found.add(where, "alerts_test.yaml has no case in which it fires")
	}
	if !cases[r.Alert].silent {
		found.add(where, "alerts_test.yaml has no case in which it is silent")
	}
	return found
}

// promtool checks the rules and runs their cases in dir.
func (t Tree) promtool(dir string) error {
	plain, err := t.PlainRules()
	if err != nil {
		return err
	}
	cases, err := os.ReadFile(t.path("k8s/components/monitoring/alerts_test.yaml"))
	if err != nil {
		return err
	}
	err = errors.Join(os.WriteFile(filepath.Join(dir, "rules.yaml"), plain, 0o600),
		os.WriteFile(filepath.Join(dir, "alerts_test.yaml"), cases, 0o600))
	if err != nil {
		return err
	}
	both := string(plain) + string(cases)
	if _, passed := t.Judged.Load(both); passed {
		return nil
	}
	_, checked := run(dir, "promtool", "check", "rules", "rules.yaml")
	_, passed := run(dir, "promtool", "test", "rules", "alerts_test.yaml")
	if checked == nil && passed == nil {
		t.Judged.Store(both, true)
	}
	return errors.Join(checked, passed)
}

// tested says which cases an alert has.
type tested struct{ fires, silent bool }

func (t Tree) cases() (map[string]tested, error) {
	raw, err := os.ReadFile(t.path("k8s/components/monitoring/alerts_test.yaml"))
	if err != nil {
		return nil, err
	}
	var file struct {
		Tests []struct {
			Alerts []struct {
				Name     string `json:"alertname"`
				Expected []any  `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		} `json:"tests"`
	}
	if err := yaml.Unmarshal(raw, &file); err != nil {
		return nil, err
	}
	cases := map[string]tested{}
	for _, test := range file.Tests {
		for _, a := range test.Alerts {
			c := cases[a.Name]
			c.fires = c.fires || len(a.Expected) > 0
			c.silent = c.silent || len(a.Expected) == 0
			cases[a.Name] = c
		}
	}
	return cases, nil
}
