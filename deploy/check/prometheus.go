package check

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// ScrapeEvery is the scrape and evaluation interval of a started Prometheus; a cluster's is thirty times as long.
const ScrapeEvery = 500 * time.Millisecond

// Pod is a running process that stands for a pod of the Deployment of its service.
type Pod struct {
	Service, Name string
	// Ports are the addresses on which the process listens, by the name of the container's port.
	Ports map[string]string
}

// Prometheus is a running server, asked over its HTTP API.
type Prometheus struct {
	promv1.API
	Version string
	process *process
}

// StartPrometheus starts the machine's prometheus in dir, on a free port of 127.0.0.1. rules are rule files by name.
func StartPrometheus(ctx context.Context, dir string, scrape []byte, rules map[string][]byte, flags ...string) (*Prometheus, error) {
	path, err := exec.LookPath("prometheus")
	if err != nil {
		return nil, errors.New("prometheus is missing: scripts/kube-install installs it")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	rules["prometheus.yaml"] = scrape
	for name, content := range rules {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, path, append([]string{"--config.file=" + filepath.Join(dir, "prometheus.yaml"),
		"--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0"}, flags...)...)
	listening := make(chan string, 1)
	p, err := started(cmd, func(line string) {
		if m := listeningOn.FindStringSubmatch(line); m != nil {
			select {
			case listening <- m[1]:
			default:
			}
		}
	})
	if err != nil {
		return nil, err
	}
	select {
	case addr := <-listening:
		return ask(ctx, p, addr)
	case <-p.over.Done():
		return nil, fmt.Errorf("prometheus ended: %w\n%s", p.err, p.log.String())
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("prometheus does not listen: %w", context.Cause(ctx)), p.stop())
	}
}

var listeningOn = regexp.MustCompile(`msg="Listening on" address=(127\.0\.0\.1:\d+)`)

// ask waits until the server takes questions.
func ask(ctx context.Context, p *process, addr string) (*Prometheus, error) {
	client, err := api.NewClient(api.Config{Address: "http://" + addr})
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	server := &Prometheus{API: promv1.NewAPI(client), process: p}
	err = p.until(ctx, func() error {
		info, err := server.Buildinfo(ctx)
		if err == nil {
			_, err = get(ctx, "http://"+addr+"/-/ready")
		}
		server.Version = info.Version
		return err
	})
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return server, nil
}

// Stop ends the server.
func (p *Prometheus) Stop() error { return p.process.stop() }

// Until tries again until there is no error or ctx ends, and returns the last error.
func Until(ctx context.Context, try func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := try()
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil { // the error of a question that was cut short tells less
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last
		}
	}
}

// process is a started program whose log is read line by line.
type process struct {
	cmd  *exec.Cmd
	log  locked
	over context.Context // ends with the process
	err  error           // once over
}

// started starts a program; line gets each line of its stderr, in order.
func started(cmd *exec.Cmd, line func(string)) (*process, error) {
	over, end := context.WithCancel(context.Background())
	p := &process{cmd: cmd, over: over}
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		end()
		return nil, err
	}
	go func() {
		lines := bufio.NewScanner(io.TeeReader(stderr, &p.log))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			line(lines.Text())
		}
		_, _ = io.Copy(io.Discard, stderr)
		p.err = cmd.Wait()
		end()
	}()
	return p, nil
}

// until is Until for as long as the process runs.
func (p *process) until(ctx context.Context, try func() error) error {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.over, cancel)()
	if err := Until(running, try); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(p.cmd.Path), err, p.log.String())
	}
	return nil
}

// stop is SIGTERM, then SIGKILL when a minute was not enough; an exit code other than 0 is an error.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
	select {
	case <-p.over.Done():
	case <-time.After(time.Minute):
		_ = p.cmd.Process.Kill()
		<-p.over.Done()
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(p.cmd.Path), p.err, p.log.String())
	}
	return nil
}

// locked is a buffer for concurrent use.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// podMonitor is as much of a PodMonitor as decides what is scraped and under which labels.
type podMonitor struct {
	Spec struct {
		JobLabel  string               `json:"jobLabel"`
		Selector  metav1.LabelSelector `json:"selector"`
		Endpoints []struct {
			Port string `json:"port"`
			Path string `json:"path"`
		} `json:"podMetricsEndpoints"`
	}
}

type (
	relabel struct {
		SourceLabels []string `json:"source_labels,omitempty"`
		Regex        string   `json:"regex,omitempty"`
		TargetLabel  string   `json:"target_label,omitempty"`
		Replacement  string   `json:"replacement,omitempty"`
		Action       string   `json:"action,omitempty"`
	}
	target struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	scrapeJob struct {
		Name    string    `json:"job_name"`
		Path    string    `json:"metrics_path,omitempty"`
		Targets []target  `json:"static_configs"`
		Relabel []relabel `json:"relabel_configs"`
	}
)

// ScrapeConfig is the configuration that the Prometheus operator would make of the overlay's PodMonitor, with the pods that
// Kubernetes would discover: their labels are those of the overlay's Deployments, their addresses those of processes.
func (o Overlay) ScrapeConfig(pods []Pod, rules []string) ([]byte, error) {
	monitors := o.of("PodMonitor")
	if len(monitors) != 1 {
		return nil, fmt.Errorf("%s: has %d PodMonitors, not one", o.Name, len(monitors))
	}
	var monitor podMonitor
	if err := monitors[0].into(&monitor); err != nil {
		return nil, err
	}
	if len(monitor.Spec.Selector.MatchExpressions) > 0 {
		return nil, fmt.Errorf("%s: matchExpressions of a PodMonitor are not known here", o.Name)
	}
	var targets []target
	for _, p := range pods {
		found, err := o.discovered(p)
		if err != nil {
			return nil, err
		}
		targets = append(targets, found...)
	}
	var jobs []scrapeJob
	for i, e := range monitor.Spec.Endpoints {
		jobs = append(jobs, scrapeJob{
			Name: fmt.Sprintf("podMonitor/%s/%d", monitors[0].Name, i), Path: e.Path, Targets: targets, Relabel: monitor.relabel(monitors[0].Name, e.Port),
		})
	}
	return yaml.Marshal(map[string]any{
		"global":         map[string]string{"scrape_interval": ScrapeEvery.String(), "scrape_timeout": ScrapeEvery.String(), "evaluation_interval": ScrapeEvery.String()},
		"rule_files":     rules,
		"scrape_configs": jobs,
	})
}

// discovered are the targets that Kubernetes' service discovery makes of one pod: one for each port.
func (o Overlay) discovered(p Pod) ([]target, error) {
	deployments := o.deployments()
	i := slices.IndexFunc(deployments, func(d *appsv1.Deployment) bool { return d.Name == p.Service })
	if i < 0 {
		return nil, fmt.Errorf("%s: has no Deployment %s", o.Name, p.Service)
	}
	d := deployments[i]
	c := d.Spec.Template.Spec.Containers[0]
	var found []target
	for _, port := range c.Ports {
		addr := p.Ports[port.Name]
		if addr == "" {
			return nil, fmt.Errorf("%s: %s does not listen for its container's port %s", o.Name, p.Name, port.Name)
		}
		labels := map[string]string{
			"__meta_kubernetes_namespace": d.Namespace, "__meta_kubernetes_pod_name": p.Name, "__meta_kubernetes_pod_phase": string(corev1.PodRunning),
			"__meta_kubernetes_pod_container_name": c.Name, "__meta_kubernetes_pod_container_port_name": port.Name,
		}
		for name, value := range d.Spec.Template.Labels {
			labels["__meta_kubernetes_pod_label_"+labelName(name)] = value
			labels["__meta_kubernetes_pod_labelpresent_"+labelName(name)] = "true"
		}
		found = append(found, target{Targets: []string{addr}, Labels: labels})
	}
	return found, nil
}

// labelName is what Prometheus makes of a Kubernetes label's name.
func labelName(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
}

// relabel are the rules that the operator writes for a PodMonitor's endpoint, in its order.
func (m podMonitor) relabel(name, port string) []relabel {
	rules := []relabel{{SourceLabels: []string{"__meta_kubernetes_pod_phase"}, Regex: "(Failed|Succeeded)", Action: "drop"}}
	for label, value := range m.Spec.Selector.MatchLabels {
		rules = append(rules, relabel{
			SourceLabels: []string{"__meta_kubernetes_pod_label_" + labelName(label), "__meta_kubernetes_pod_labelpresent_" + labelName(label)},
			Regex:        "(" + regexp.QuoteMeta(value) + ");true", Action: "keep",
		})
	}
	rules = append(rules,
		relabel{SourceLabels: []string{"__meta_kubernetes_pod_container_port_name"}, Regex: port, Action: "keep"},
		relabel{SourceLabels: []string{"__meta_kubernetes_namespace"}, TargetLabel: "namespace"},
		relabel{SourceLabels: []string{"__meta_kubernetes_pod_container_name"}, TargetLabel: "container"},
		relabel{SourceLabels: []string{"__meta_kubernetes_pod_name"}, TargetLabel: "pod"},
		relabel{TargetLabel: "job", Replacement: name},
	)
	if m.Spec.JobLabel != "" {
		rules = append(rules, relabel{
			SourceLabels: []string{"__meta_kubernetes_pod_label_" + labelName(m.Spec.JobLabel)}, TargetLabel: "job", Regex: "(.+)", Replacement: "${1}",
		})
	}
	return append(rules, relabel{TargetLabel: "endpoint", Replacement: port})
}
