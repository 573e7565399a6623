package arch_test

import (
	"maps"
	"slices"
)

// module is the path that imports of this module begin with.
const module = "paydispatch"

// Libraries, named by the prefix of their import paths.
const (
	envLib     = "github.com/caarlos0/env/v11"
	breaker    = "github.com/sony/gobreaker/v2"
	cobra      = "github.com/spf13/cobra"
	errgroup   = "golang.org/x/sync/errgroup"
	franz      = "github.com/twmb/franz-go"
	otel       = "go.opentelemetry.io/otel"
	otlp       = "go.opentelemetry.io/proto/otlp"
	protobuf   = "google.golang.org/protobuf/proto"
	jsonschema = "github.com/santhosh-tekuri/jsonschema/v6"
	kafkaGo    = "github.com/segmentio/kafka-go"
	miniredis  = "github.com/alicebob/miniredis/v2"
	prometheus = "github.com/prometheus/client_golang"
	promModel  = "github.com/prometheus/client_model"
	rate       = "golang.org/x/time/rate"
	redisLib   = "github.com/redis/go-redis/v9"
	semaphore  = "golang.org/x/sync/semaphore"
	yaml       = "go.yaml.in/yaml/v3"

	singleflight = "golang.org/x/sync/singleflight"
	testify      = "github.com/stretchr/testify/require"
)

// rule says what a package may import beside the standard library.
type rule struct {
	// may lists packages of this module.
	may []string
	// libs lists libraries.
	libs []string
	// testLibs lists libraries that its _test.go files may import beside libs and testify/require. Those files may
	// also import any package of the module that is no program.
	testLibs []string
}

// vendors are those that can be called, each with the libraries of its adapter. A vendor's adapter is the folder of its
// name below internal/vendors, its double the one below internal/vendors/sim; what the table says of them follows.
var vendors = map[string][]string{
	"withhold": nil,
	"esign":    {singleflight},
	"daxpay":   nil,
}

// below lists a package of each vendor's name.
func below(dir string) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(vendors)) {
		all = append(all, dir+"/"+name)
	}
	return slices.Clip(all)
}

func vendorAdapters() []string { return below("internal/vendors") }
func vendorDoubles() []string  { return below("internal/vendors/sim") }

// withVendors adds the vendors' packages. What the doubles do stands apart from what the adapters believe: they share no
// code.
func withVendors(table map[string]rule) map[string]rule {
	for name, libs := range vendors {
		table["internal/vendors/"+name] = rule{may: []string{"internal/commands", "internal/jsonobject", "internal/vendors", "internal/vendors/scrub", "internal/vendors/wire"}, libs: libs}
		table["internal/vendors/sim/"+name] = rule{}
	}
	return table
}

// table is the layout. A key that ends in /... stands for the packages below it too.
//
// Arrows point one way: cmd -> adapters -> ports -> commands, and cmd -> dispatch, callback -> operation -> ports.
var table = withVendors(map[string]rule{
	// The pure core.
	"internal/commands": {may: []string{"internal/jsonobject"}},
	// What the core and the adapters read JSON with.
	"internal/jsonobject": {},

	// What the lanes tell the work on a message, down to the vendor's wire.
	"internal/handover": {},

	// The ports: contracts, and what does not depend on an implementation.
	"internal/idempotency":       {may: []string{"internal/commands"}},
	"internal/idempotency/epoch": {may: []string{"internal/idempotency"}},
	"internal/idempotency/clock": {may: []string{"internal/idempotency"}},
	"internal/stream":            {may: []string{"internal/handover"}, libs: []string{semaphore, errgroup, prometheus}},
	"internal/vendors":           {may: []string{"internal/commands"}},

	// The suites that an adapter and its twin both pass.
	"internal/idempotency/storetest": {may: []string{"internal/idempotency"}, libs: []string{testify}},
	"internal/stream/streamtest":     {may: []string{"internal/stream"}, libs: []string{testify}},
	"internal/vendors/vendortest": {
		may: []string{"internal/commands", "internal/vendors", "internal/vendors/scrub", "internal/vendors/wire"}, libs: []string{testify},
	},

	// The adapters and their twins.
	"internal/idempotency/memstore": {may: []string{"internal/idempotency", "internal/idempotency/clock", "internal/idempotency/epoch"}},
	"internal/idempotency/redisstore": {
		may:      []string{"internal/idempotency", "internal/idempotency/clock", "internal/idempotency/epoch"},
		libs:     []string{redisLib, prometheus},
		testLibs: []string{miniredis},
	},
	"internal/stream/memstream": {may: []string{"internal/stream"}},
	"internal/stream/kafkastream": {
		may:      []string{"internal/stream"},
		libs:     []string{kafkaGo, errgroup, semaphore, prometheus},
		testLibs: []string{franz},
	},
	"internal/vendors/wire": {
		may:  []string{"internal/commands", "internal/handover", "internal/vendors"},
		libs: []string{breaker, rate, prometheus},
	},
	// Every word of a vendor passes it on the way to the core, in the shell that calls the vendor.
	"internal/vendors/scrub": {may: []string{"internal/commands", "internal/jsonobject", "internal/vendors"}},
	"internal/vendors/limit": {
		may:  []string{"internal/commands", "internal/handover", "internal/vendors"},
		libs: []string{breaker, rate, semaphore},
	},

	// The shells over the core.
	"internal/operation": {
		may: []string{
			"internal/commands", "internal/handover", "internal/idempotency", "internal/stream", "internal/vendors",
			"internal/vendors/scrub",
		},
		libs: []string{prometheus, breaker, rate},
	},
	"internal/dispatch": {
		may: []string{
			"internal/commands", "internal/idempotency", "internal/operation", "internal/stream", "internal/vendors",
		},
		libs: []string{prometheus, breaker, rate},
	},
	"internal/callback": {
		may: []string{
			"internal/commands", "internal/idempotency", "internal/operation", "internal/stream", "internal/vendors",
		},
		libs: []string{prometheus, rate},
	},

	// Spans for the shells. What exports them is the services'.
	"internal/tracing": {
		may:      []string{"internal/commands", "internal/operation", "internal/stream"},
		libs:     []string{otel + "/attribute", otel + "/codes", otel + "/propagation", otel + "/semconv", otel + "/trace"},
		testLibs: []string{otel + "/sdk/trace", rate},
	},

	// What the message topics are and what may stand in them.
	"internal/vendors/catalog": {may: []string{"internal/commands", "internal/vendors", "internal/vendors/withhold"}},
	"schemas":                  {libs: []string{jsonschema}},

	// What every service needs.
	"internal/lifecycle": {libs: []string{errgroup}},
	"internal/admin":     {libs: []string{prometheus}},
	"internal/arch":      {},

	// The programs. Each app is wired by hand from all of the above; main only calls it.
	"cmd/internal/settings": {
		may: append(vendorAdapters(),
			"internal/commands", "internal/idempotency", "internal/idempotency/redisstore", "internal/operation",
			"internal/stream", "internal/stream/kafkastream", "internal/vendors/wire", "internal/vendors/limit",
			"internal/vendors/catalog"),
		libs: []string{envLib},
	},
	"cmd/internal/metric": {
		may:  []string{"internal/commands", "internal/operation", "internal/stream"},
		libs: []string{prometheus},
	},
	"cmd/internal/service": {
		may: []string{
			"cmd/internal/metric", "cmd/internal/settings", "internal/admin", "internal/commands", "internal/idempotency",
			"internal/idempotency/redisstore", "internal/lifecycle", "internal/operation", "internal/stream",
			"internal/stream/kafkastream", "internal/tracing",
		},
		libs: []string{prometheus, cobra, otel + "/attribute", otel + "/exporters/otlp/otlptrace", otel + "/sdk", otlp, protobuf},
	},
	"cmd/dispatcher": {may: []string{"cmd/dispatcher/app", "cmd/internal/service"}},
	"cmd/dispatcher/app": {
		may:  append(wiring, "internal/dispatch", "internal/callback"), // callback makes the token of a notify_url
		libs: serviceLibs, testLibs: embeddedLibs,
	},
	"cmd/callback-ingest": {may: []string{"cmd/callback-ingest/app", "cmd/internal/service"}},
	"cmd/callback-ingest/app": {
		may:  append(wiring, "internal/callback"),
		libs: serviceLibs, testLibs: embeddedLibs,
	},
	"cmd/sandbox":     {may: []string{"cmd/sandbox/app"}, libs: []string{cobra}},
	"cmd/sandbox/app": {may: embedded, libs: []string{cobra, franz, miniredis, errgroup}},
	"cmd/payctl":      {may: []string{"cmd/payctl/app"}, libs: []string{cobra}},
	"cmd/payctl/app": {
		may:  append(wiring, "internal/dispatch", "internal/callback"),
		libs: []string{cobra, envLib}, testLibs: embeddedLibs,
	},

	// The bench knows the services as programs only, so that it measures what is deployed.
	"bench":         {may: []string{"bench/gateway", "bench/load", "bench/process", "bench/report", "bench/rival"}, libs: embeddedLibs},
	"bench/order":   {},
	"bench/process": {},
	"bench/report":  {},
	"bench/gateway": {may: []string{"bench/order"}},
	"bench/load":    {may: []string{"bench/order"}, libs: []string{franz}},
	"bench/rival":   {may: []string{"bench/gateway"}, libs: []string{kafkaGo, redisLib}},

	// Tests of the whole.
	"internal/sim/...": {
		may: slices.Concat(wiring, vendorDoubles(), []string{
			"internal/dispatch", "internal/callback", "internal/idempotency/memstore", "internal/stream/memstream",
		}),
		libs: []string{testify, rate, errgroup},
	},
	"test/mutants": {may: []string{"test/overlay"}},
	"test/overlay": {},
	// Chaos knows the services as programs only; the vendor and the ledger that judge them share no code with them.
	"test/chaos":     {may: []string{"test/overlay"}, libs: []string{franz, redisLib}},
	"test/realparts": {libs: []string{testify}},
	"test/docs":      {may: []string{"bench/report", "cmd/dispatcher/app", "cmd/callback-ingest/app"}, libs: []string{testify}},
	"test/integration/...": {
		may:  append(embedded, "internal/idempotency/memstore", "internal/stream/memstream"),
		libs: []string{testify, franz, miniredis, errgroup, kafkaGo, redisLib, yaml}, // the last three: to empty real parts, and to read manifests
	},
})

// testLibs are the libraries that every _test.go file may import beside testify/require.
var testLibs = []string{prometheus + "/prometheus", promModel}

// serviceLibs are the libraries that the wiring of a service may name.
var serviceLibs = []string{envLib, cobra, errgroup, prometheus, breaker, rate}

// embeddedLibs are the Kafka and the Redis that run inside a process.
var embeddedLibs = []string{franz, miniredis}

// wiring is what the wiring of a service may import beside its shell: the ports, the real adapters, the common parts.
// It and embedded are clipped, so that appending to them copies.
var wiring = slices.Clip(append(vendorAdapters(),
	"cmd/internal/metric", "cmd/internal/service", "cmd/internal/settings",
	"internal/commands", "internal/operation", "internal/idempotency", "internal/idempotency/epoch",
	"internal/idempotency/redisstore", "internal/stream", "internal/stream/kafkastream", "internal/vendors",
	"internal/vendors/catalog", "internal/vendors/wire", "internal/vendors/limit", "internal/lifecycle",
	"internal/admin", "schemas"))

// embedded is what a program that runs both services in one process may import.
var embedded = slices.Clip(slices.Concat(wiring, vendorDoubles(), []string{
	"internal/dispatch", "internal/callback", "cmd/dispatcher/app", "cmd/callback-ingest/app",
}))

// adapters touch the world, or stand in for what does. None of them knows another; cmd joins them.
var adapters = slices.Concat(vendorAdapters(), vendorDoubles(), []string{
	"internal/idempotency/memstore", "internal/idempotency/redisstore",
	"internal/stream/memstream", "internal/stream/kafkastream",
})

// owners are the libraries that only one package may speak to, with the packages that may; tests included.
var owners = map[string][]string{
	kafkaGo:    {"internal/stream/kafkastream", "test/integration", "bench/rival"},
	redisLib:   {"internal/idempotency/redisstore", "test/integration", "test/chaos", "bench/rival"},
	jsonschema: {"schemas"},
	otel:       {"internal/tracing", "cmd/internal/service"},
	envLib:     {"cmd/internal/settings", "cmd/dispatcher/app", "cmd/callback-ingest/app"},
}

// services are the programs that meet real money.
var services = []string{"cmd/dispatcher", "cmd/callback-ingest"}

// neverLinked must not be part of a service, not even through others.
var neverLinked = []string{
	franz, miniredis, "google.golang.org/grpc", "github.com/stretchr/testify", "testing", "net/http/httptest",
	module + "/internal/idempotency/memstore", module + "/internal/idempotency/storetest",
	module + "/internal/stream/memstream", module + "/internal/stream/streamtest",
	module + "/internal/vendors/sim", module + "/internal/vendors/vendortest", module + "/internal/sim",
	module + "/internal/arch", module + "/cmd/sandbox", module + "/bench",
}

// badNames say nothing about what a package is for.
var badNames = []string{"util", "utils", "common", "helper", "helpers", "models", "types", "misc", "base", "shared"}

// impure are the parts of the standard library that the core has no use for: it does no I/O, starts no goroutine,
// reads no clock, rolls no dice.
var impure = []string{
	"context", "crypto/rand", "database", "io/fs", "log", "math/rand", "net", "os", "runtime", "sync", "syscall",
	"testing", "unsafe",
}

// clockNames are the functions of package time that read the clock or wait for it.
var clockNames = []string{
	"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until",
}
