package integration

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// budgets are what the manifests of production say about how a service's pods are replaced.
type budgets struct {
	// grace is from the decision to stop a pod to SIGKILL, preStop the part of it before SIGTERM.
	grace, preStop time.Duration
	// minReady is how long a new pod must be ready before an old one goes.
	minReady time.Duration
	// progress is how long a roll-out may make none.
	progress time.Duration
	// ready is the path that tells whether a pod may be given work.
	ready string
	// settings are the container's variables.
	settings map[string]string
}

// deployment is as much of a Deployment as the budgets are made of.
type deployment struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Strategy struct {
			RollingUpdate struct {
				MaxSurge       int `yaml:"maxSurge"`
				MaxUnavailable int `yaml:"maxUnavailable"`
			} `yaml:"rollingUpdate"`
		}
		MinReady int `yaml:"minReadySeconds"`
		Progress int `yaml:"progressDeadlineSeconds"`
		Template struct {
			Spec struct {
				Grace      int `yaml:"terminationGracePeriodSeconds"`
				Containers []struct {
					Lifecycle struct {
						PreStop struct{ Sleep struct{ Seconds int } } `yaml:"preStop"`
					}
					Readiness struct {
						HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
					} `yaml:"readinessProbe"`
				}
			}
		}
	}
}

const manifests = "../../deploy/k8s"

// patched are the fields that no overlay may change without this reader being taught to see it: it reads the base, and
// the settings of the overlay on top of the base's.
var patched = regexp.MustCompile(`terminationGracePeriodSeconds|preStop|lifecycle|minReadySeconds|progressDeadline|strategy|maxSurge|maxUnavailable|readinessProbe|/env\b|envFrom`)

// budgetsOf reads what production grants a service.
func budgetsOf(t *testing.T, service string) budgets {
	t.Helper()
	require.NoError(t, filepath.WalkDir(manifests, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "kustomization.yaml" || strings.HasPrefix(filepath.ToSlash(path), manifests+"/base/") {
			return err
		}
		raw, err := os.ReadFile(path)
		require.NotRegexp(t, patched, string(raw), "%s changes what is read from the base here", path)
		return err
	}))
	d := readDeployment(t, service)
	seconds := func(n int) time.Duration { return time.Duration(n) * time.Second }
	rolling, pod := d.Spec.Strategy.RollingUpdate, d.Spec.Template.Spec
	require.Equal(t, []int{1, 0}, []int{rolling.MaxSurge, rolling.MaxUnavailable}, "the roll-out that is played here starts one, then ends one")
	require.Len(t, pod.Containers, 1)
	c := pod.Containers[0]
	require.Equal(t, "admin", c.Readiness.HTTPGet.Port)
	b := budgets{
		grace: seconds(pod.Grace), preStop: seconds(c.Lifecycle.PreStop.Sleep.Seconds), minReady: seconds(d.Spec.MinReady),
		progress: seconds(d.Spec.Progress), ready: c.Readiness.HTTPGet.Path, settings: map[string]string{},
	}
	require.Positive(t, b.grace)
	require.Positive(t, b.minReady)
	require.Positive(t, b.progress)
	for _, file := range []string{"base/common.env", "base/" + service + ".env", "overlays/prod/common.env", "overlays/prod/" + service + ".env"} {
		raw, err := os.ReadFile(filepath.Join(manifests, filepath.FromSlash(file)))
		if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(file, "overlays/") {
			continue
		}
		require.NoError(t, err)
		for line := range strings.Lines(string(raw)) {
			if name, value, found := strings.Cut(strings.TrimSpace(line), "="); found && !strings.HasPrefix(name, "#") {
				b.settings[name] = value
			}
		}
	}
	return b
}

func readDeployment(t *testing.T, service string) deployment {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(manifests, "base", service+".yaml"))
	require.NoError(t, err)
	documents := yaml.NewDecoder(bytes.NewReader(raw))
	for {
		var d deployment
		var read yaml.Node
		err := documents.Decode(&read)
		require.NotErrorIs(t, err, io.EOF, "no Deployment %s", service)
		require.NoError(t, err)
		var kind struct{ Kind string }
		require.NoError(t, read.Decode(&kind))
		if kind.Kind != "Deployment" {
			continue
		}
		require.NoError(t, read.Decode(&d))
		if d.Metadata.Name == service {
			return d
		}
	}
}

// messageLimits are the largest messages that production's topics take, by the kind of the topic.
func messageLimits(t *testing.T) map[string]string {
	t.Helper()
	raw, err := os.ReadFile("../../deploy/kafka/topics.yaml")
	require.NoError(t, err)
	var topics struct{ Config map[string]map[string]string }
	require.NoError(t, yaml.Unmarshal(raw, &topics))
	limits := map[string]string{}
	for _, kind := range []string{"command", "delay", "result", "dead-letter"} {
		limits[kind] = topics.Config[kind]["max.message.bytes"]
		require.NotEmpty(t, limits[kind], kind)
	}
	return limits
}
