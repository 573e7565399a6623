package check

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Metrics are the names of a scrape's series, each with its labels.
type Metrics map[string]map[string]bool

// targetLabels are put on every series by whoever scrapes.
var targetLabels = []string{"job", "instance", "namespace", "pod", "container", "endpoint"}

// ParseMetrics reads the text format; the text of several scrapes may follow each other.
func ParseMetrics(text []byte) (Metrics, error) {
	metrics := Metrics{"up": {}}
	for _, part := range bytes.Split(text, []byte(scrapeEnd)) {
		var p expfmt.TextParser
		families, err := p.TextToMetricFamilies(bytes.NewReader(part))
		if err != nil {
			return nil, fmt.Errorf("scrape: %w", err)
		}
		for name, family := range families {
			for _, m := range family.GetMetric() {
				var names []string
				for _, l := range m.GetLabel() {
					names = append(names, l.GetName())
				}
				if m.GetHistogram() != nil || m.GetSummary() != nil {
					metrics.put(name+"_sum", names...)
					metrics.put(name+"_count", names...)
				}
				if m.GetHistogram() != nil {
					metrics.put(name+"_bucket", append(names, "le")...)
				} else {
					metrics.put(name, names...)
				}
			}
		}
	}
	return metrics, nil
}

func (m Metrics) put(name string, labels ...string) {
	if m[name] == nil {
		m[name] = map[string]bool{}
	}
	for _, l := range labels {
		m[name][l] = true
	}
}

// scrapeEnd separates the texts of several scrapes.
const scrapeEnd = "\n# end of one scrape\n"

// sandbox runs the sandbox's sample and scrapes both services until it is over. Its Kafka is what payctl needs to name the
// topics that it would make.
func (c *Code) sandbox(ctx context.Context, tiers []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(c.Bin, "sandbox"), "--once", "--verbose", "--kafka-port", "0", "--redis-port", "0")
	log, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	var screen bytes.Buffer
	cmd.Stdout = &screen
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	last := &scrapes{text: map[string][]byte{}}
	stop, stopped := context.WithCancel(ctx)
	var tail bytes.Buffer
	lines := bufio.NewScanner(io.TeeReader(log, &tail))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Msg, Port, Addr string
			Settings        map[string]string
		}
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue
		}
		if line.Msg == "listening" && line.Port == "admin" {
			last.watchers.Go(func() { last.watch(stop, line.Addr) })
		}
		if brokers := line.Settings["KAFKA_BROKERS"]; brokers != "" && c.Topics == nil {
			if c.Topics, err = topicsBy(ctx, filepath.Join(c.Bin, "payctl"), append(tiers, "KAFKA_BROKERS="+brokers)); err != nil {
				break
			}
		}
	}
	stopped()
	last.watchers.Wait()
	if err != nil {
		return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("the sandbox: %w\n%s%s", err, screen.String(), tail.String())
	}
	return last.all(), nil
}

// topicsBy asks payctl for the names of all topics.
func topicsBy(ctx context.Context, payctl string, env []string) ([]string, error) {
	cmd := exec.CommandContext(ctx, payctl, "topics", "list")
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("payctl topics list: %w\n%s", err, out)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		if name, _, _ := strings.Cut(strings.TrimSpace(line), " "); name != "topic" {
			names = append(names, name)
		}
	}
	return names, nil
}

// scrapes keeps the last text of each service: counters only grow, and series stay.
type scrapes struct {
	watchers sync.WaitGroup
	mu       sync.Mutex
	text     map[string][]byte
}

func (s *scrapes) watch(ctx context.Context, addr string) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if text, err := get(ctx, "http://"+addr+"/metrics"); err == nil {
			s.mu.Lock()
			s.text[addr] = text
			s.mu.Unlock()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *scrapes) all() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var parts [][]byte
	for _, text := range s.text {
		parts = append(parts, text)
	}
	return bytes.Join(parts, []byte(scrapeEnd))
}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := (&http.Client{Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, res.Status)
	}
	return io.ReadAll(res.Body)
}

// query holds a PromQL expression against what is scraped: names of metrics and labels, and words of labels.
func (c Code) query(where, expr string, recorded Metrics) []Finding {
	var found findings
	parsed, err := parser.ParseExpr(expr)
	if err != nil {
		found.add(where, "%v in %s", err, expr)
		return found
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			found = append(found, c.selector(where, n, recorded)...)
		case *parser.AggregateExpr:
			for _, label := range n.Grouping {
				if !slices.Contains(targetLabels, label) && !c.Metrics.any(n.Expr, recorded, label) {
					found.add(where, "groups by %s, a label that nothing in it has: %s", label, n.Expr)
				}
			}
		}
		return nil
	})
	return found
}

func (c Code) selector(where string, s *parser.VectorSelector, recorded Metrics) []Finding {
	var found findings
	has := c.Metrics[s.Name]
	if has == nil {
		has = recorded[s.Name]
	}
	if has == nil {
		found.add(where, "no scrape has a metric %s", s.Name)
		return found
	}
	for _, m := range s.LabelMatchers {
		if m.Name == labels.MetricName || slices.Contains(targetLabels, m.Name) {
			continue
		}
		if !has[m.Name] {
			found.add(where, "%s has no label %s", s.Name, m.Name)
		}
		for word := range strings.SplitSeq(m.Value, "|") {
			if plain.MatchString(word) && !c.Words[word] {
				found.add(where, "%s: nothing in the code says %s=%q", s.Name, m.Name, word)
			}
		}
	}
	return found
}

var plain = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// any reports whether a metric in the expression has the label.
func (m Metrics) any(e parser.Node, recorded Metrics, label string) bool {
	has := false
	parser.Inspect(e, func(node parser.Node, _ []parser.Node) error {
		if s, ok := node.(*parser.VectorSelector); ok {
			has = has || m[s.Name][label] || recorded[s.Name][label]
		}
		return nil
	})
	return has
}

// recordings returns what recording rules make, with the labels that they group by.
func recordings(groups []ruleGroup) Metrics {
	made := Metrics{}
	for _, g := range groups {
		for _, r := range g.Rules {
			if r.Record == "" {
				continue
			}
			made.put(r.Record)
			if parsed, err := parser.ParseExpr(r.Expr); err == nil {
				if a, ok := parsed.(*parser.AggregateExpr); ok {
					made.put(r.Record, a.Grouping...)
				}
			}
		}
	}
	return made
}

// grafana replaces what Grafana fills in.
var grafana = strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h", "$__interval", "1m", "$namespace", ".*", "$topic", ".*")

var labelValues = regexp.MustCompile(`^label_values\((.+), *([a-z_]+)\)$`)

// Dashboards holds every panel's and every variable's query against the scrape.
func (t Tree) Dashboards() []Finding {
	var found findings
	groups, problems := t.rules()
	found = append(found, problems...)
	recorded := recordings(groups)
	dir := t.path("k8s/components/monitoring/dashboards")
	files, err := os.ReadDir(dir)
	found.fail("dashboards", err)
	uids := map[string]string{}
	for _, file := range files {
		where := "dashboards/" + file.Name()
		raw, err := os.ReadFile(dir + "/" + file.Name())
		found.fail(where, err)
		var d dashboard
		if err := json.Unmarshal(raw, &d); err != nil {
			found.fail(where, err)
			continue
		}
		if d.UID == "" || uids[d.UID] != "" {
			found.add(where, "its uid %q is empty or that of %s", d.UID, uids[d.UID])
		}
		uids[d.UID] = where
		found = append(found, t.dashboard(where, d, recorded)...)
	}
	return found
}

type dashboard struct {
	UID        string
	Templating struct {
		List []struct{ Name, Type, Query string }
	}
	Panels []struct {
		ID      int
		Title   string
		Targets []struct{ Expr string }
	}
}

func (t Tree) dashboard(where string, d dashboard, recorded Metrics) []Finding {
	var found findings
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		m := labelValues.FindStringSubmatch(v.Query)
		if m == nil {
			found.add(where, "variable %s: its query is not label_values(metric, label)", v.Name)
			continue
		}
		found = append(found, t.Code.query(where+" variable "+v.Name, "sum by ("+m[2]+") ("+grafana.Replace(m[1])+")", recorded)...)
	}
	ids := map[int]bool{}
	for _, p := range d.Panels {
		at := fmt.Sprintf("%s panel %q", where, p.Title)
		if ids[p.ID] {
			found.add(at, "another panel has its id %d", p.ID)
		}
		ids[p.ID] = true
		if len(p.Targets) == 0 {
			found.add(at, "asks nothing")
		}
		for _, target := range p.Targets {
			found = append(found, t.Code.query(at, grafana.Replace(target.Expr), recorded)...)
		}
	}
	return found
}
