package check

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	policyv1 "k8s.io/api/policy/v1"
)

// closing is what a service may take to close what it opened, after what is in flight has ended: seven resources at most
// (admin port, traces, Redis, Kafka, three vendors), 5 s each (cmd/internal/service, Closing).
const closing = 35 * time.Second

// Calm checks that a pod may take the time that its service needs to stop, and that pods come and go one by one.
func (o Overlay) Calm() []Finding {
	var found findings
	for _, d := range o.deployments() {
		where := fmt.Sprintf("%s: Deployment %s", o.Name, d.Name)
		found = append(found, o.grace(where, d)...)
		r := d.Spec.Strategy.RollingUpdate
		if r == nil || r.MaxUnavailable == nil || r.MaxUnavailable.IntValue() != 0 || r.MaxSurge == nil || r.MaxSurge.IntValue() != 1 {
			found.add(where, "a roll-out must go pod by pod: maxSurge 1, maxUnavailable 0")
		}
	}
	for _, x := range o.of("PodDisruptionBudget") {
		if b, ok := x.Typed.(*policyv1.PodDisruptionBudget); ok && (b.Spec.MaxUnavailable == nil || b.Spec.MaxUnavailable.IntValue() != 1) {
			found.add(o.where(x), "nodes must be drained pod by pod: maxUnavailable 1")
		}
	}
	return found
}

func (o Overlay) grace(where string, d *appsv1.Deployment) []Finding {
	var found findings
	pod := d.Spec.Template.Spec
	if pod.TerminationGracePeriodSeconds == nil || len(pod.Containers) != 1 {
		found.add(where, "has no terminationGracePeriodSeconds, or not one container")
		return found
	}
	c := pod.Containers[0]
	given := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second
	var before time.Duration
	if c.Lifecycle != nil && c.Lifecycle.PreStop != nil && c.Lifecycle.PreStop.Sleep != nil {
		before = time.Duration(c.Lifecycle.PreStop.Sleep.Seconds) * time.Second
	}
	env := o.env(c)
	took := map[string]time.Duration{}
	for _, name := range []string{"POD_GRACE", "REBALANCE_TIMEOUT", "DRAIN_BUDGET", "CALLBACK_TIMEOUT"} {
		if env[name] == "" {
			continue
		}
		var err error
		if took[name], err = time.ParseDuration(env[name]); err != nil {
			found.add(where, "%s: %v", name, err)
		}
	}
	if took["POD_GRACE"] == 0 || took["POD_GRACE"]+before > given {
		found.add(where, "terminationGracePeriodSeconds %v is shorter than POD_GRACE %v and the preStop sleep %v", given, took["POD_GRACE"], before)
	}
	for _, name := range []string{"REBALANCE_TIMEOUT", "DRAIN_BUDGET", "CALLBACK_TIMEOUT"} {
		if took[name]+closing > took["POD_GRACE"] && took[name] > 0 {
			found.add(where, "%s %v and %v to close everything are longer than POD_GRACE %v", name, took[name], closing, took["POD_GRACE"])
		}
	}
	if ready := time.Duration(d.Spec.MinReadySeconds) * time.Second; ready <= took["REBALANCE_TIMEOUT"] && took["REBALANCE_TIMEOUT"] > 0 {
		found.add(where, "minReadySeconds %v: the next pod would go before the rebalance of the last one is over (%v)", ready, took["REBALANCE_TIMEOUT"])
	}
	return found
}
