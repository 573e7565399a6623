package check

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// runtimeNames are variables that Go reads, not the services.
var runtimeNames = []string{"GOMEMLIMIT"}

// env is what a container's variables hold, and from which ConfigMap each came.
func (o Overlay) env(c corev1.Container) map[string]string {
	all := map[string]string{}
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef == nil {
			continue
		}
		x, _ := o.find("ConfigMap", from.ConfigMapRef.Name)
		if m, ok := x.Typed.(*corev1.ConfigMap); ok {
			for name, value := range m.Data {
				all[from.Prefix+name] = value
			}
		}
	}
	for _, e := range c.Env {
		if !slices.Contains(runtimeNames, e.Name) {
			all[e.Name] = e.Value
		}
	}
	return all
}

// Settings checks that the services know every variable that their containers get, are given the files that those name,
// may reach the addresses in them, and start with them. dummies stand in for Secrets that are made elsewhere.
func (o Overlay) Settings(code Code, dummies map[string][]byte) []Finding {
	var found findings
	for _, d := range o.deployments() {
		for _, c := range d.Spec.Template.Spec.Containers {
			where := fmt.Sprintf("%s: settings of %s", o.Name, c.Name)
			known, ok := code.Defaults[c.Name]
			if !ok {
				found.add(where, "no service has this name")
				continue
			}
			env := o.env(c)
			for name := range env {
				if _, ok := known[name]; !ok {
					found.add(where, "%s: %s has no such setting", name, c.Name)
				}
			}
			files := o.files(d.Spec.Template.Spec, c, dummies)
			for name, value := range env {
				if strings.HasSuffix(name, "_FILE") && value != "" && files[value] == nil {
					found.add(where, "%s: no volume puts a file at %s", name, value)
				}
			}
			found = append(found, o.reachable(where, d, env)...)
			found.fail(where, code.accepts(c.Name, env, files))
		}
	}
	return found
}

// Dummies are the values in the overlays' own Secrets, by the name of the file that they become in a pod.
func Dummies(overlays []Overlay) map[string][]byte {
	all := map[string][]byte{}
	for _, o := range overlays {
		if len(o.of("Secret")) == 0 {
			continue
		}
		for _, d := range o.deployments() {
			for _, c := range d.Spec.Template.Spec.Containers {
				for name, content := range o.files(d.Spec.Template.Spec, c, nil) {
					all[path.Base(name)] = content
				}
			}
		}
	}
	return all
}

// files is what a container finds in its volumes: from the overlay's own Secret, or a dummy where Secrets are made
// elsewhere.
func (o Overlay) files(pod corev1.PodSpec, c corev1.Container, dummies map[string][]byte) map[string][]byte {
	all := map[string][]byte{}
	for _, mount := range c.VolumeMounts {
		i := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == mount.Name })
		if i < 0 || pod.Volumes[i].Projected == nil {
			continue
		}
		for _, source := range pod.Volumes[i].Projected.Sources {
			if source.Secret == nil {
				continue
			}
			x, _ := o.find("Secret", source.Secret.Name)
			for _, item := range source.Secret.Items {
				content := dummies[item.Path]
				if s, ok := x.Typed.(*corev1.Secret); ok {
					content = s.Data[item.Key]
				}
				if content == nil && strings.HasSuffix(item.Path, ".crt") {
					content = certificate()
				}
				if content == nil {
					content = []byte("made-up-for-the-check-0123456789abcdef")
				}
				all[path.Join(mount.MountPath, item.Path)] = content
			}
		}
	}
	return all
}

func certificate() []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// reachable checks that the NetworkPolicies let a Deployment's pods out to the ports that its settings name.
func (o Overlay) reachable(where string, d *appsv1.Deployment, env map[string]string) []Finding {
	var found findings
	open := map[string]bool{}
	for _, x := range o.of("NetworkPolicy") {
		p, ok := x.Typed.(*networkingv1.NetworkPolicy)
		if !ok || !slices.Contains(o.selected(&p.Spec.PodSelector), d) {
			continue
		}
		for _, rule := range p.Spec.Egress {
			for _, port := range rule.Ports {
				open[port.Port.String()] = true
			}
		}
	}
	for name, value := range env {
		var addresses []string
		switch {
		case name == "KAFKA_BROKERS" || name == "REDIS_ADDRS":
			addresses = strings.Split(value, ",")
		case strings.HasSuffix(name, "_URL") && name != "CALLBACK_BASE_URL":
			addresses = []string{value}
		}
		for _, address := range addresses {
			if port := portIn(address); !open[port] {
				found.add(where, "%s: no NetworkPolicy lets %s out to port %s", name, d.Name, port)
			}
		}
	}
	return found
}

func portIn(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		if u.Port() != "" {
			return u.Port()
		}
		return map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return address[strings.LastIndex(address, ":")+1:]
}

// Unset checks that each setting of a service is set in some overlay or stands in k8s/defaults.txt with a reason, and that
// nothing stands there in vain.
func (t Tree) Unset(overlays []Overlay) []Finding {
	var found findings
	const where = "k8s/defaults.txt"
	raw, err := os.ReadFile(t.path(where))
	found.fail(where, err)
	left := map[string]bool{}
	for line := range strings.Lines(string(raw)) {
		names, reason, _ := strings.Cut(strings.TrimSpace(line), ":")
		if names == "" || strings.HasPrefix(names, "#") {
			continue
		}
		if strings.TrimSpace(reason) == "" {
			found.add(where, "%s: without a reason", names)
		}
		for name := range strings.SplitSeq(names, ", ") {
			left[name] = true
		}
	}
	set := map[string]bool{}
	for _, o := range overlays {
		for _, d := range o.deployments() {
			for _, c := range d.Spec.Template.Spec.Containers {
				for name := range o.env(c) {
					set[name] = true
				}
			}
		}
	}
	known := map[string]bool{}
	for service, settings := range t.Code.Defaults {
		for name := range settings {
			known[name] = true
			if !set[name] && !left[name] {
				found.add(where, "%s of %s is set in no overlay, and does not stand here with a reason", name, service)
			}
		}
	}
	for name := range left {
		if !known[name] {
			found.add(where, "%s: no service has this setting", name)
		}
		if set[name] {
			found.add(where, "%s: an overlay sets it", name)
		}
	}
	return found
}
