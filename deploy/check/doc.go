// Package check reads everything under deploy/ as those will who use it, and says what would not work: Kubernetes and
// its Pod Security rules, the operators' CRDs, Prometheus, Grafana, Kafka and the programs themselves.
//
// What it compares with is never a list kept here: settings are asked of the built programs (--print-config), metrics are
// taken from a real scrape of the sandbox, topics from the programs and the schemas, CRDs from their Go modules.
//
// What no reading shows, a running Prometheus does: it scrapes the sandbox's services as the PodMonitor says, with the
// product's rules, and is asked whatever dashboards and alerts ask.
//
// It is a module of its own, so that the product's go.mod stays lean. It refuses to skip: what it needs and does not find
// (promtool, prometheus, buildah) is a failure that names what installs it.
package check

import "fmt"

// Finding is one thing that would not work, with the file or object in which it stands.
type Finding struct{ Where, Says string }

// String returns the finding as one line.
func (f Finding) String() string { return f.Where + ": " + f.Says }

// findings gathers them.
type findings []Finding

func (f *findings) add(where, format string, args ...any) {
	*f = append(*f, Finding{Where: where, Says: fmt.Sprintf(format, args...)})
}

// fail adds an error, if there is one.
func (f *findings) fail(where string, err error) {
	if err != nil {
		f.add(where, "%v", err)
	}
}
