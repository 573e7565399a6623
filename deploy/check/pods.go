package check

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// secretName matches settings whose value would be a secret; names of files that hold one end otherwise.
var secretName = regexp.MustCompile(`(PASSWORD|SECRET|TOKEN|KEY|KEYS|CREDENTIALS?)$`)

// deployments lists the Deployments; all pods come from one.
func (o Overlay) deployments() []*appsv1.Deployment {
	var all []*appsv1.Deployment
	for _, x := range o.Objects {
		if d, ok := x.Typed.(*appsv1.Deployment); ok {
			all = append(all, d)
		}
	}
	return all
}

// Pods holds every pod against the restricted Pod Security rules and against what this house expects beyond them.
func (o Overlay) Pods() []Finding {
	var found findings
	for _, x := range o.Objects {
		switch x.Kind {
		case "Pod", "DaemonSet", "StatefulSet", "Job", "CronJob", "ReplicaSet":
			found.add(o.where(x), "only Deployments are looked at by the checks")
		case "Secret":
			found = append(found, o.dummy(x)...)
		case "ConfigMap":
			data, _ := x.Fields["data"].(map[string]any)
			for name := range data {
				if secretName.MatchString(name) {
					found.add(o.where(x), "%s: a secret must come as a mounted file", name)
				}
			}
		}
	}
	if len(o.deployments()) == 0 {
		found.add(o.Name, "has no Deployment")
	}
	for _, d := range o.deployments() {
		where := fmt.Sprintf("%s: Deployment %s", o.Name, d.Name)
		found = append(found, restricted(where, d.Spec.Template)...)
		pod := d.Spec.Template.Spec
		if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
			found.add(where, "mounts a token of the Kubernetes API, which nothing here needs: automountServiceAccountToken: false")
		}
		if pod.EnableServiceLinks == nil || *pod.EnableServiceLinks {
			found.add(where, "enableServiceLinks is on: variables made from Services could be read as settings")
		}
		if len(pod.TopologySpreadConstraints) == 0 {
			found.add(where, "has no topologySpreadConstraints")
		}
		for _, c := range pod.Containers {
			found = append(found, container(where+" container "+c.Name, c)...)
		}
	}
	return found
}

// dummy refuses a Secret whose values do not say that they are none.
func (o Overlay) dummy(x Object) []Finding {
	var found findings
	secret, ok := x.Typed.(*corev1.Secret)
	if !ok {
		return nil
	}
	for name, value := range secret.Data {
		if !strings.Contains(string(value), "dev-only") {
			found.add(o.where(x), "%s: values of secrets do not belong here (a dummy says dev-only)", name)
		}
	}
	return found
}

func restricted(where string, template corev1.PodTemplateSpec) []Finding {
	var found findings
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		found.fail(where, err)
		return found
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for _, r := range evaluator.EvaluatePod(level, &template.ObjectMeta, &template.Spec) {
		if !r.Allowed {
			found.add(where, "Pod Security restricted: %s: %s", r.ForbiddenReason, r.ForbiddenDetail)
		}
	}
	return found
}

func container(where string, c corev1.Container) []Finding {
	var found findings
	for name, probe := range map[string]*corev1.Probe{"startupProbe": c.StartupProbe, "livenessProbe": c.LivenessProbe, "readinessProbe": c.ReadinessProbe} {
		want := map[bool]string{true: "/readyz", false: "/healthz"}[name == "readinessProbe"]
		switch {
		case probe == nil || probe.HTTPGet == nil:
			found.add(where, "has no %s over HTTP", name)
		case probe.HTTPGet.Path != want:
			found.add(where, "%s asks %s, not %s", name, probe.HTTPGet.Path, want)
		case !hasPort(c, probe.HTTPGet.Port.String()):
			found.add(where, "%s asks port %s, which the container does not have", name, probe.HTTPGet.Port.String())
		}
	}
	for _, missing := range []struct {
		what string
		ok   bool
	}{
		{"requests.cpu", !c.Resources.Requests.Cpu().IsZero()}, {"requests.memory", !c.Resources.Requests.Memory().IsZero()},
		{"limits.cpu", !c.Resources.Limits.Cpu().IsZero()}, {"limits.memory", !c.Resources.Limits.Memory().IsZero()},
	} {
		if !missing.ok {
			found.add(where, "has no resources.%s", missing.what)
		}
	}
	if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
		found.add(where, "has a root file system that can be written to")
	}
	found = append(found, image(where, c.Image)...)
	found = append(found, secretEnv(where, c)...)
	return append(found, memory(where, c)...)
}

// memory checks that Go's collector is told of a limit below the one at which the kernel kills.
func memory(where string, c corev1.Container) []Finding {
	var found findings
	i := slices.IndexFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "GOMEMLIMIT" })
	if i < 0 || c.Env[i].ValueFrom == nil || c.Env[i].ValueFrom.ResourceFieldRef == nil || c.Env[i].ValueFrom.ResourceFieldRef.Resource != "requests.memory" {
		found.add(where, "GOMEMLIMIT is not taken from requests.memory")
		return found
	}
	share := float64(c.Resources.Requests.Memory().Value()) / float64(c.Resources.Limits.Memory().Value())
	if share < 0.8 || share > 0.95 {
		found.add(where, "requests.memory, which is GOMEMLIMIT, is %.0f%% of limits.memory, not 80%% to 95%%", share*100)
	}
	return found
}

func secretEnv(where string, c corev1.Container) []Finding {
	var found findings
	for _, e := range c.Env {
		fromSecret := e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil
		if fromSecret || secretName.MatchString(e.Name) {
			found.add(where, "%s: a secret must come as a mounted file, not as a variable", e.Name)
		}
	}
	for _, e := range c.EnvFrom {
		if e.SecretRef != nil {
			found.add(where, "variables from Secret %s: a secret must come as a mounted file", e.SecretRef.Name)
		}
	}
	return found
}

// image refuses names that say nothing about the version, and hosts: those belong to the cluster's own configuration.
func image(where, name string) []Finding {
	var found findings
	first, rest, slashed := strings.Cut(name, "/")
	if slashed && strings.ContainsAny(first, ".:") {
		found.add(where, "image %s names a registry", name)
	}
	if !slashed {
		rest = first
	}
	_, tag, tagged := strings.Cut(rest, ":")
	if !strings.Contains(name, "@sha256:") && (!tagged || tag == "latest") {
		found.add(where, "image %s has no tag that stands for one version", name)
	}
	return found
}

func hasPort(c corev1.Container, name string) bool {
	return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == name })
}

// selected lists the Deployments whose pods a selector matches.
func (o Overlay) selected(s *metav1.LabelSelector) []*appsv1.Deployment {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(o.deployments(), func(d *appsv1.Deployment) bool { return !selector.Matches(labelsOf(d)) })
}
