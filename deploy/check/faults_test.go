package check_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"paydispatch/deploy/check"
)

// fault is a mistake as someone could make it, and what must be said about it.
type fault struct {
	file, from, to string
	found          string
}

// faults are seeded one at a time into a copy of the deploy folder. The first ten are those that this house has promised to
// see.
var faults = map[string]fault{
	"a misspelt field": {
		"k8s/base/dispatcher.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFileSystem: true",
		`unknown field "spec.template.spec.containers[0].securityContext.readOnlyRootFileSystem"`,
	},
	"a dropped probe": {
		"k8s/base/callback-ingest.yaml", "          readinessProbe:\n            httpGet: {path: /readyz, port: admin}\n            periodSeconds: 5\n            timeoutSeconds: 3\n            failureThreshold: 2\n", "",
		"has no readinessProbe over HTTP",
	},
	"a renamed metric": {
		"k8s/components/monitoring/dashboards/lanes.json", "paydispatch_held_partitions", "paydispatch_holding_partitions",
		"no scrape has a metric paydispatch_holding_partitions",
	},
	"an alert without a test": {
		"k8s/components/monitoring/alerts.yaml", "        - alert: PaydispatchPanic\n", "        - alert: PaydispatchUntested\n          expr: sum(paydispatch_running_handlers) > 9000\n        - alert: PaydispatchPanic\n",
		"rule PaydispatchUntested: alerts_test.yaml has no case in which it fires",
	},
	"a setting without code": {
		"k8s/base/dispatcher.env", "\nIN_FLIGHT=64\n", "\nINFLIGHT=64\n",
		"INFLIGHT: dispatcher has no such setting",
	},
	"a secret as a variable": {
		"k8s/base/dispatcher.yaml", "          env:\n", "          env:\n            - name: KAFKA_PASSWORD\n              value: hunter2\n",
		"KAFKA_PASSWORD: a secret must come as a mounted file",
	},
	"a privileged container": {
		"k8s/base/dispatcher.yaml", "            allowPrivilegeEscalation: false\n", "            privileged: true\n",
		"Pod Security restricted: privileged",
	},
	"missing limits": {
		"k8s/base/callback-ingest.yaml", "            limits:\n              cpu: \"1\"\n              memory: 128Mi\n", "",
		"has no resources.limits.memory",
	},
	"a wrong port name": {
		"k8s/base/callback-ingest.yaml", "targetPort: callbacks", "targetPort: http",
		"have no port named http",
	},
	"a grace shorter than the drain": {
		"k8s/base/dispatcher.yaml", "terminationGracePeriodSeconds: 45", "terminationGracePeriodSeconds: 8",
		"terminationGracePeriodSeconds 8s is shorter than POD_GRACE 45s",
	},

	"a misspelt field of a custom resource": {
		"k8s/components/monitoring/podmonitor.yaml", "scrapeTimeout", "scrapeTimout", `unknown field "spec.podMetricsEndpoints[0].scrapeTimout"`,
	},
	"a value that a CRD refuses": {
		"k8s/components/monitoring/podmonitor.yaml", "interval: 15s", "interval: fifteen", "spec.podMetricsEndpoints[0].interval",
	},
	"a kustomization field that warns": {
		"k8s/base/kustomization.yaml", "labels:\n", "commonLabels: {a: b}\nlabels:\n", "'commonLabels' is deprecated",
	},
	"a setting of the code that nobody decided about": {
		"k8s/defaults.txt", "REDIS_DB: ", "# ", "REDIS_DB of dispatcher is set in no overlay",
	},
	"a secret in the repository": {
		"k8s/overlays/dev/kustomization.yaml", "token-keys=dev-only-not-a-secret", "token-keys=hunter2hunter2hunter2", "values of secrets do not belong here",
	},
	"a secret file that nothing mounts": {
		"k8s/overlays/prod/kustomization.yaml", "path: kafka-password}", "path: kafka-pasword}", "KAFKA_PASSWORD_FILE: no volume puts a file at",
	},
	"timings that the service refuses": {
		"k8s/base/dispatcher.env", "DRAIN_BUDGET=7s", "DRAIN_BUDGET=9s", "DRAIN_BUDGET and one HEARTBEAT_INTERVAL: 10s must be shorter",
	},
	"a port that no policy lets out to": {
		"k8s/overlays/prod/common.env", "kafka.svc:9093", "kafka.svc:9095", "no NetworkPolicy lets dispatcher out to port 9095",
	},
	"callbacks to another host": {
		"k8s/overlays/prod/dispatcher.env", "https://pay.example.com", "https://pays.example.com", "vendors are told to call",
	},
	"KEDA asking about another group": {
		"k8s/components/keda/scaledobject.yaml", "consumerGroup: paydispatch", "consumerGroup: dispatch", `consumerGroup is "dispatch", KAFKA_GROUP "paydispatch"`,
	},
	"two autoscalers": {
		"k8s/components/keda/kustomization.yaml", "      $patch: delete\n", "", "more than one autoscaler for Deployment dispatcher",
	},
	"a command topic that KEDA forgets": {
		"k8s/components/keda/scaledobject.yaml", "topic: identity.poll", "topic: identity.pole", "has no trigger for identity.poll",
	},
	"a topic that is not made": {
		"kafka/topics.yaml", "  identity.result: {partitions: 12}\n", "", "identity.result has a schema and is not among the results",
	},
	"commands kept for longer than records": {
		"kafka/topics.yaml", `retention.ms: "1209600000"`, `retention.ms: "5184000000"`, "not shorter than RECORD_LIFETIME",
	},
	"a made file that was edited": {
		"k8s/components/topics/kafkatopics.yaml", "partitions: 64", "partitions: 63", "is not what 'make deploy-files' makes",
	},
	"an alert on a label that is not there": {
		"k8s/components/monitoring/alerts.yaml", `{kind="unresolved"}`, `{sort="unresolved"}`, "paydispatch_results_total has no label sort",
	},
	"an alert on a word that nothing says": {
		"k8s/components/monitoring/alerts.yaml", `{verdict="our_fault"}`, `{verdict="own_fault"}`, `nothing in the code says verdict="own_fault"`,
	},
	"an alert that no longer fires": {
		"k8s/components/monitoring/alerts.yaml", "[10m])) > 20", "[10m])) > 2000", "promtool test rules",
	},
	"an alert with another runbook": {
		"k8s/components/monitoring/alerts.yaml", "operations.md#paydispatchpanic", "operations.md#panic", "its runbook_url is",
	},
	"an image of any version": {
		"k8s/overlays/prod/kustomization.yaml", "newTag: 1.0.0", "newTag: latest", "has no tag that stands for one version",
	},
	"pods that all go at once": {
		"k8s/base/dispatcher.yaml", "maxUnavailable: 0", "maxUnavailable: 2", "a roll-out must go pod by pod",
	},
	"a policy for every port": {
		"k8s/base/network.yaml", "      ports:\n        - port: 6379\n          protocol: TCP\n", "", "lets out to everyone, or to every port",
	},
	"access logs with tokens": {
		"k8s/base/callback-ingest.yaml", `enable-access-log: "false"`, `enable-access-log: "true"`, "the access log must be off",
	},
	"an image that runs as root": {
		"Dockerfile", "COPY --from=build /out/services/ /\nUSER 65532:65532", "COPY --from=build /out/services/ /", "is not a number other than root's",
	},
	"a compose setting without code": {
		"compose/compose.yaml", "REDIS_ADDRS: redis:6379", "REDIS_ADDR: redis:6379", "REDIS_ADDR: dispatcher has no such setting",
	},
	"a compose port open to all": {
		"compose/compose.yaml", "127.0.0.1:3000:3000", "3000:3000", "is open to more than this machine",
	},

	"an alert without a runbook": {
		"../docs/operations.md", "\n### PaydispatchPanic\n", "\n### Panics\n", "has no section PaydispatchPanic",
	},
	"a runbook without an alert": {
		"../docs/operations.md", "\n### PaydispatchPanic\n", "\n### PaydispatchPanic\n\n### PaydispatchGone\n",
		"has a section PaydispatchGone, an alert that is not there",
	},
	"a runbook at another level": {
		"../docs/operations.md", "\n### PaydispatchPanic\n", "\n#### PaydispatchPanic\n", "is not at the level of",
	},
	"a runbook twice": {
		"../docs/operations.md", "\n### PaydispatchPanic\n",
		"\n### PaydispatchPanic\n\n**Means.** a\n\n**Look.** b\n\n**Do.** c\n\n**Never** d\n\n### PaydispatchPanic\n",
		"not in the order of the alerts, or one stands there twice",
	},
	"a runbook that forbids nothing": {
		"../docs/operations.md", "\n**Never** restart pods to be rid of it", "\nDo not restart pods", "section PaydispatchPanic has no part **Never**",
	},
	"a runbook that names a metric of yesterday": {
		"../docs/operations.md", "max by (vendor, method, pod) (paydispatch_breaker_open)", "max by (vendor) (paydispatch_breaker)",
		"names paydispatch_breaker, which no scrape has",
	},
	"a runbook that asks by a label that is not there": {
		"../docs/operations.md", `{reason="unreadable"}`, `{why="unreadable"}`, "paydispatch_dead_letters_total has no label why",
	},
	"a runbook that names a setting of yesterday": {
		"../docs/operations.md", "`STUCK_AFTER`", "`STUCK_FOR`", "names the setting STUCK_FOR, which no service has",
	},
	"a runbook that searches for a line that nothing writes": {
		"../docs/operations.md", `.msg=="commit failed"`, `.msg=="commits failed"`, `searches logs for "commits failed"`,
	},
	"a runbook that searches by a field that nothing writes": {
		"../docs/operations.md", `'.verdict=="forged"'`, `'.judgement=="forged"'`, `searches logs by "judgement"`,
	},
	"a runbook with a command that payctl does not have": {
		"../docs/operations.md", "payctl dlq show", "payctl dlq peek", "it has no such command",
	},
	"a runbook with a flag that payctl does not have": {
		"../docs/operations.md", "--all --reason", "--every --reason", "unknown flag: --every",
	},
	"a runbook with a topic that is not there": {
		"../docs/operations.md", "-t withhold.result ", "-t withhold.results ", "there is no topic withhold.results",
	},
	"a runbook with a dead link": {
		"../docs/operations.md", "(#scaling-dispatchers)", "(#scaling)", "links to #scaling, which is not there",
	},
}

func TestEachSeededFaultIsFound(t *testing.T) {
	t.Parallel()
	_, whole := wholeTree(t)
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			dir := filepath.Join(root, "deploy")
			require.NoError(t, os.CopyFS(dir, os.DirFS("..")))
			require.NoError(t, os.CopyFS(filepath.Join(root, "docs"), os.DirFS("../../docs")))
			path := filepath.Join(dir, filepath.FromSlash(f.file))
			raw, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Contains(t, string(raw), f.from, "the fault no longer fits the file")
			require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(string(raw), f.from, f.to)), 0o600))

			var all []string
			for _, found := range (check.Tree{Dir: dir, Code: whole.Code, Judged: whole.Judged}).All() {
				all = append(all, found.String())
			}
			require.Contains(t, strings.Join(all, "\n"), f.found)
		})
	}
}

func TestAMissingPageOfRunbooksIsFound(t *testing.T) {
	t.Parallel()
	found := check.Tree{Dir: filepath.Join(t.TempDir(), "deploy")}.Runbooks()
	require.Len(t, found, 1)
	require.Contains(t, found[0].String(), "no such file")
}
