package check

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

const composeFile = "compose/compose.yaml"

type composeService struct {
	Image       string            `json:"image"`
	Build       *composeBuild     `json:"build,omitempty"`
	Command     []string          `json:"command,omitempty"`
	Environment map[string]string `json:"environment,omitempty"`
	Volumes     []string          `json:"volumes,omitempty"`
	Ports       []string          `json:"ports,omitempty"`
	DependsOn   []string          `json:"depends_on,omitempty"`
	ReadOnly    bool              `json:"read_only,omitempty"`
	User        string            `json:"user,omitempty"`
	CapDrop     []string          `json:"cap_drop,omitempty"`
	SecurityOpt []string          `json:"security_opt,omitempty"`
	StopGrace   string            `json:"stop_grace_period,omitempty"`
	Restart     string            `json:"restart,omitempty"`
}

type composeBuild struct {
	Context    string `json:"context"`
	Dockerfile string `json:"dockerfile"`
	Target     string `json:"target"`
}

// Compose checks the development set-up: fields, images, files, ports, the services' settings, and Prometheus' own
// configuration.
func (t Tree) Compose() []Finding {
	var found findings
	var file struct {
		Name     string                    `json:"name"`
		Services map[string]composeService `json:"services"`
	}
	raw, err := os.ReadFile(t.path(composeFile))
	if err == nil {
		err = yaml.UnmarshalStrict(raw, &file)
	}
	found.fail(composeFile, err)
	for _, name := range services {
		if _, ok := file.Services[name]; !ok {
			found.add(composeFile, "has no service %s", name)
		}
	}
	for name, s := range file.Services {
		where := composeFile + ": " + name
		found = append(found, image(where, s.Image)...)
		for _, other := range s.DependsOn {
			if _, ok := file.Services[other]; !ok {
				found.add(where, "depends on %s, which is not there", other)
			}
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				found.add(where, "port %s is open to more than this machine", port)
			}
		}
		found = append(found, t.composeVolumes(where, s)...)
		if slices.Contains(services, name) {
			found = append(found, t.composeSettings(where, name, s)...)
		}
	}
	_, err = run(t.path("compose/prometheus"), "promtool", "check", "config", "prometheus.yaml")
	found.fail("compose/prometheus", err)
	return found
}

// composeVolumes checks that what is mounted is there.
func (t Tree) composeVolumes(where string, s composeService) []Finding {
	var found findings
	for _, volume := range s.Volumes {
		source, _, _ := strings.Cut(volume, ":")
		if !strings.HasSuffix(volume, ":ro") {
			found.add(where, "%s is not mounted read-only", volume)
		}
		if _, err := os.Stat(t.path("compose/" + source)); err != nil {
			found.fail(where, err)
		}
	}
	return found
}

// composeSettings checks what the services get, as [Overlay.Settings] does for pods.
func (t Tree) composeSettings(where, name string, s composeService) []Finding {
	var found findings
	files := map[string][]byte{}
	for _, volume := range s.Volumes {
		parts := strings.Split(volume, ":")
		err := filepath.WalkDir(t.path("compose/"+parts[0]), func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			raw, err := os.ReadFile(path)
			rel, _ := filepath.Rel(t.path("compose/"+parts[0]), path)
			files[filepath.Join(parts[1], rel)] = raw
			return err
		})
		found.fail(where, err)
	}
	for setting, value := range s.Environment {
		if _, ok := t.Code.Defaults[name][setting]; !ok {
			found.add(where, "%s: %s has no such setting", setting, name)
		}
		if secretName.MatchString(setting) {
			found.add(where, "%s: a secret must come as a mounted file", setting)
		}
		if strings.HasSuffix(setting, "_FILE") && files[value] == nil {
			found.add(where, "%s: nothing is mounted at %s", setting, value)
		}
	}
	for path, content := range files {
		if strings.Contains(path, "secrets/") && !bytes.Contains(content, []byte("dev-only")) {
			found.add(where, "%s: values of secrets do not belong here (a dummy says dev-only)", filepath.Base(path))
		}
	}
	found.fail(where, t.Code.accepts(name, s.Environment, files))
	return found
}

const dockerFile = "Dockerfile"

// stage is one stage of the Dockerfile.
type stage struct {
	from, name string
	lines      []string
}

// stages reads the Dockerfile.
func (t Tree) stages() ([]stage, error) {
	raw, err := os.ReadFile(t.path(dockerFile))
	if err != nil {
		return nil, err
	}
	var all []stage
	for line := range strings.Lines(string(raw)) {
		words := strings.Fields(line)
		if len(words) > 1 && words[0] == "FROM" {
			all = append(all, stage{from: words[1]})
			if len(words) == 4 {
				all[len(all)-1].name = words[3]
			}
		}
		if len(all) > 0 {
			last := &all[len(all)-1]
			last.lines = append(last.lines, strings.TrimRight(line, "\n"))
		}
	}
	return all, nil
}

// LastStage returns the text of the Dockerfile's last stage, the one that the services run in.
func (t Tree) LastStage() (string, error) {
	all, err := t.stages()
	if err != nil || len(all) == 0 {
		return "", fmt.Errorf("%s: no stage: %w", dockerFile, err)
	}
	return strings.Join(all[len(all)-1].lines, "\n") + "\n", nil
}

// Images checks the Dockerfile: which images it starts from, and that what runs is nothing but our programs, by a user who
// is nobody.
func (t Tree) Images() []Finding {
	var found findings
	stages, err := t.stages()
	if err != nil || len(stages) < 2 {
		found.add(dockerFile, "has not several stages: %v", err)
		return found
	}
	for i, s := range stages {
		where := fmt.Sprintf("%s stage %s", dockerFile, s.name)
		if i == 0 {
			found = append(found, image(where, s.from)...)
			continue
		}
		if s.from != "scratch" {
			found.add(where, "starts from %s, not from scratch", s.from)
		}
		user := ""
		for _, line := range s.lines {
			if name, ok := strings.CutPrefix(line, "USER "); ok {
				user = name
			}
		}
		uid, _, _ := strings.Cut(user, ":")
		if n, err := strconv.Atoi(uid); err != nil || n == 0 {
			found.add(where, "USER %q is not a number other than root's: Kubernetes cannot tell that it is not root", user)
		}
	}
	return found
}
