package check

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func labelsOf(d *appsv1.Deployment) labels.Set { return d.Spec.Template.Labels }

// Links checks that what names another object, a label or a port names one that is there.
func (o Overlay) Links() []Finding {
	var found findings
	scaled := map[string][]string{}
	for _, x := range o.Objects {
		where := o.where(x)
		switch v := x.Typed.(type) {
		case *corev1.Service:
			targets := o.selected(&metav1.LabelSelector{MatchLabels: v.Spec.Selector})
			found = append(found, matches(where, targets)...)
			for _, p := range v.Spec.Ports {
				found = append(found, portOf(where, targets, p.TargetPort)...)
			}
		case *policyv1.PodDisruptionBudget:
			found = append(found, matches(where, o.selected(v.Spec.Selector))...)
		case *networkingv1.NetworkPolicy:
			found = append(found, o.policy(where, v)...)
		case *networkingv1.Ingress:
			found = append(found, o.ingress(where, v)...)
		case *autoscalingv2.HorizontalPodAutoscaler:
			scaled[v.Spec.ScaleTargetRef.Name] = append(scaled[v.Spec.ScaleTargetRef.Name], where)
		case *appsv1.Deployment:
			found = append(found, o.references(where, v)...)
		}
		switch x.Kind {
		case "ScaledObject":
			var s scaledObject
			found.fail(where, x.into(&s))
			scaled[s.Spec.ScaleTargetRef.Name] = append(scaled[s.Spec.ScaleTargetRef.Name], where)
		case "PodMonitor":
			found = append(found, o.podMonitor(where, x)...)
		}
	}
	for target, by := range scaled {
		if _, ok := o.find("Deployment", target); !ok {
			found.add(by[0], "scales Deployment %s, which is not there", target)
		}
		if len(by) > 1 {
			found.add(strings.Join(by, ", "), "more than one autoscaler for Deployment %s", target)
		}
	}
	for _, d := range o.deployments() {
		where := fmt.Sprintf("%s: Deployment %s", o.Name, d.Name)
		if len(scaled[d.Name]) == 0 && d.Spec.Replicas == nil {
			found.add(where, "has neither replicas nor an autoscaler")
		}
		if len(scaled[d.Name]) > 0 && d.Spec.Replicas != nil {
			found.add(where, "sets replicas beside an autoscaler: each apply would undo its work")
		}
		if !slices.ContainsFunc(o.of("PodDisruptionBudget"), func(x Object) bool {
			b, ok := x.Typed.(*policyv1.PodDisruptionBudget)
			return ok && slices.Contains(o.selected(b.Spec.Selector), d)
		}) {
			found.add(where, "has no PodDisruptionBudget")
		}
	}
	return append(found, o.denied()...)
}

func matches(where string, targets []*appsv1.Deployment) []Finding {
	if len(targets) > 0 {
		return nil
	}
	return []Finding{{Where: where, Says: "its selector matches no pod"}}
}

// portOf checks that every selected pod has the port.
func portOf(where string, targets []*appsv1.Deployment, port intstr.IntOrString) []Finding {
	var found findings
	for _, d := range targets {
		if !slices.ContainsFunc(d.Spec.Template.Spec.Containers, func(c corev1.Container) bool { return hasPort(c, port.String()) }) {
			found.add(where, "the pods of Deployment %s have no port named %s", d.Name, port.String())
		}
	}
	return found
}

func (o Overlay) policy(where string, p *networkingv1.NetworkPolicy) []Finding {
	targets := o.selected(&p.Spec.PodSelector)
	found := findings(matches(where, targets))
	for _, rule := range p.Spec.Ingress {
		if len(rule.From) == 0 || len(rule.Ports) == 0 {
			found.add(where, "lets everyone in, or in to every port")
		}
		for _, port := range rule.Ports {
			found = append(found, portOf(where, targets, *port.Port)...)
		}
	}
	for _, rule := range p.Spec.Egress {
		if len(rule.To) == 0 || len(rule.Ports) == 0 {
			found.add(where, "lets out to everyone, or to every port")
		}
	}
	return found
}

// denied checks that nothing may pass that no policy names.
func (o Overlay) denied() []Finding {
	for _, x := range o.of("NetworkPolicy") {
		p, ok := x.Typed.(*networkingv1.NetworkPolicy)
		all := ok && len(p.Spec.PodSelector.MatchLabels) == 0 && len(p.Spec.PodSelector.MatchExpressions) == 0
		if all && len(p.Spec.PolicyTypes) == 2 && len(p.Spec.Ingress) == 0 && len(p.Spec.Egress) == 0 {
			return nil
		}
	}
	return []Finding{{Where: o.Name, Says: "no NetworkPolicy denies by default"}}
}

func (o Overlay) ingress(where string, in *networkingv1.Ingress) []Finding {
	var found findings
	var secured []string
	for _, t := range in.Spec.TLS {
		secured = append(secured, t.Hosts...)
	}
	var base string
	if x, ok := o.find("ConfigMap", "dispatcher-settings"); ok {
		if c, ok := x.Typed.(*corev1.ConfigMap); ok {
			base = c.Data["CALLBACK_BASE_URL"]
		}
	}
	u, err := url.Parse(base)
	found.fail(where, err)
	for _, rule := range in.Spec.Rules {
		if !slices.Contains(secured, rule.Host) {
			found.add(where, "host %s has no TLS", rule.Host)
		}
		if err == nil && (u.Host != rule.Host || u.Scheme != "https") {
			found.add(where, "vendors are told to call %q (CALLBACK_BASE_URL), the Ingress takes https://%s", base, rule.Host)
		}
		for _, path := range rule.HTTP.Paths {
			if !strings.HasPrefix(path.Path, "/callbacks/") {
				found.add(where, "path %s: only callbacks may come in from outside", path.Path)
			}
			backend := path.Backend.Service
			service, ok := o.find("Service", backend.Name)
			s, typed := service.Typed.(*corev1.Service)
			if !ok || !typed || !slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == backend.Port.Name }) {
				found.add(where, "there is no Service %s with a port named %s", backend.Name, backend.Port.Name)
			}
		}
	}
	if in.Annotations["nginx.ingress.kubernetes.io/enable-access-log"] != "false" {
		found.add(where, "paths hold the tokens of orders: the access log must be off")
	}
	return found
}

func (o Overlay) podMonitor(where string, x Object) []Finding {
	var m struct {
		Spec struct {
			Selector            metav1.LabelSelector
			PodMetricsEndpoints []struct{ Port, Path string }
		}
	}
	var found findings
	found.fail(where, x.into(&m))
	targets := o.selected(&m.Spec.Selector)
	found = append(found, matches(where, targets)...)
	for _, d := range o.deployments() {
		if !slices.Contains(targets, d) {
			found.add(where, "leaves out Deployment %s", d.Name)
		}
	}
	for _, e := range m.Spec.PodMetricsEndpoints {
		found = append(found, portOf(where, targets, intstr.FromString(e.Port))...)
	}
	return found
}

// references checks what a Deployment names: its account, its ConfigMaps, the volumes that it mounts. Secrets of an
// overlay that makes none itself are made elsewhere.
func (o Overlay) references(where string, d *appsv1.Deployment) []Finding {
	var found findings
	pod := d.Spec.Template.Spec
	if _, ok := o.find("ServiceAccount", pod.ServiceAccountName); !ok {
		found.add(where, "there is no ServiceAccount %q", pod.ServiceAccountName)
	}
	for _, c := range pod.Containers {
		for _, e := range c.EnvFrom {
			if e.ConfigMapRef == nil {
				continue
			}
			if _, ok := o.find("ConfigMap", e.ConfigMapRef.Name); !ok {
				found.add(where, "there is no ConfigMap %s", e.ConfigMapRef.Name)
			}
		}
	}
	makesSecrets := len(o.of("Secret")) > 0
	for _, v := range pod.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.Secret == nil || !makesSecrets {
				continue
			}
			secret, ok := o.find("Secret", s.Secret.Name)
			made, typed := secret.Typed.(*corev1.Secret)
			if !ok || !typed {
				found.add(where, "there is no Secret %s", s.Secret.Name)
				continue
			}
			for _, item := range s.Secret.Items {
				if _, ok := made.Data[item.Key]; !ok {
					found.add(where, "Secret %s has no key %s", secret.Name, item.Key)
				}
			}
		}
	}
	return found
}
