# One command a task; CI (.ci/run) runs exactly these. 'make' alone lists them.
# Only Go and make are needed but where a line says so.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

GO ?= go
CACHE := $(CURDIR)/.cache

# Packages whose tests run under the race detector in 'make test': where goroutines share what decides about money.
RACE := stream idempotency operation dispatch callback lifecycle sim
RACE_PATTERN := /internal/($(shell echo $(RACE) | tr ' ' '|'))(/|$$)
# The race detector needs a C compiler. Without one the same tests run without it, and a line says so.
RACE_FLAG = $$([[ $$($(GO) env CGO_ENABLED) == 1 ]] && command -v $$($(GO) env CC) >/dev/null && echo -race || \
	echo "no C compiler: the race detector is left out" >&2)

# The linter is built from tools/go.mod into the cache, one file a version of linter and Go.
LINTER = $(CACHE)/bin/golangci-lint-$(shell cat tools/go.mod tools/go.sum | sha256sum | cut -c1-12)-$(shell $(GO) env GOVERSION)

# ---------------------------------------------------------------------------------------------------------------------
.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## broker, Redis, vendor double and both services in one process, and a sample of commands (ONCE=1: then exit)
	@$(GO) run ./cmd/sandbox $(if $(ONCE),--once)

.PHONY: build
build: ## the programs, into bin/
	@CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./cmd/...

# ---------------------------------------------------------------------------------------------------------------------
.PHONY: test
test: ## all tests on the embedded broker and Redis, under the race detector where it counts
	@packages=$$($(GO) list ./...); \
	$(GO) test -vet=off $$(grep -Ev '$(RACE_PATTERN)' <<<"$$packages"); \
	race=$(RACE_FLAG); \
	$(GO) test -vet=off $$race $$(grep -E '$(RACE_PATTERN)' <<<"$$packages")

.PHONY: test-real
test-real: ## the suites on Apache Kafka and redis-server, started for it (apt: scripts/install-real)
	@scripts/real-parts run -- $(GO) test -vet=off -tags real -count=1 -p 1 -timeout 20m \
		./internal/stream/kafkastream ./internal/idempotency/redisstore ./test/integration/...

.PHONY: sim
sim: ## the simulation of the whole service: SEEDS=n of them, or the one SEED=x
	@$(if $(SEED),SEED=$(SEED),SEEDS=$(or $(SEEDS),300)) $(GO) test -vet=off ./internal/sim -run '^TestSimulation' \
		-count=1 -v -timeout 30m

.PHONY: mutants
mutants: ## plant mistakes in the code that decides about money, and see the tests find them: ONLY=pattern TABLE=file
	@$(GO) run ./test/mutants $(if $(ONLY),-only '$(ONLY)') $(if $(TABLE),-table $(TABLE))
	@$(GO) test -vet=off ./internal/sim -run '^TestMutationsAreCaught' -count=1 -v -timeout 30m | \
		grep -E '^(--- |[0-9]+ mutations|  [^ ]|ok|FAIL)'

.PHONY: chaos
chaos: ## faults on real processes, Kafka and Redis, a table of zeros: ONLY=pattern SEED=n SHORT=1 MUTANTS=1 TABLE=file
	@mkdir -p $(CACHE)/chaos
	@$(GO) build -o $(CACHE)/chaos/chaos ./test/chaos
	@$(CACHE)/chaos/chaos $(if $(ONLY),-only '$(ONLY)') $(if $(SEED),-seed $(SEED)) $(if $(SHORT),-short) \
		$(if $(COMMANDS),-commands $(COMMANDS)) $(if $(DISPATCHER),-dispatcher $(DISPATCHER)) $(if $(TABLE),-table $(TABLE)) \
		$(if $(MUTANTS),-mutants)

.PHONY: race
race: ## every test under the race detector (needs a C compiler)
	@$(GO) test -race -vet=off ./...

.PHONY: cover
cover: ## the coverage of each function, and of all; a page in .cache/cover.html
	@mkdir -p $(CACHE)
	@$(GO) test -vet=off -coverpkg=./internal/...,./cmd/...,./schemas/... -coverprofile=$(CACHE)/cover.out ./... >/dev/null
	@$(GO) tool cover -html=$(CACHE)/cover.out -o $(CACHE)/cover.html
	@$(GO) tool cover -func=$(CACHE)/cover.out

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (10s)
	@scripts/fuzz $(or $(FUZZTIME),10s)

.PHONY: bench
bench: ## the dispatcher beside a plain loop and an unsafe pool: SCENARIO= SYSTEMS= BROKERS=host:port|real REDIS= BACKLOG=n
	@mkdir -p $(CACHE)/bench
	@CGO_ENABLED=0 $(GO) build -trimpath -o $(CACHE)/bench/ ./cmd/dispatcher ./bench
	@$(if $(filter real,$(BROKERS)),scripts/real-parts run --) $(CACHE)/bench/bench -dispatcher $(CACHE)/bench/dispatcher \
		$(if $(filter real,$(BROKERS)),-real,$(if $(BROKERS),-brokers $(BROKERS)) $(if $(REDIS),-redis $(REDIS))) \
		$(if $(SCENARIO),-scenario $(SCENARIO)) $(if $(SYSTEMS),-systems $(SYSTEMS)) $(if $(BACKLOG),-backlog $(BACKLOG)) \
		$(if $(SCALE),-scale $(SCALE)) $(if $(JSON),-json $(JSON)) $(if $(EMPTY),-empty) \
		$(addprefix -set ,$(SET))

# ---------------------------------------------------------------------------------------------------------------------
.PHONY: check
check: fmt vet lint arch schemas deploy ## all static checks: fmt vet lint arch schemas deploy

.PHONY: fmt
fmt: ## every file is as gofmt writes it ('gofmt -w .' mends)
	@files=$$(gofmt -l .); [[ -z $$files ]] || { echo "not as gofmt writes it:"; echo "$$files"; exit 1; }

.PHONY: vet
vet: ## go vet, with and without the tag of the tests on real parts
	@$(GO) vet ./...
	@$(GO) vet -tags real ./...

.PHONY: lint
lint: $(LINTER) ## golangci-lint by .golangci.yml
	@$(LINTER) run

$(LINTER): tools/go.mod tools/go.sum
	@echo "building the linter (once a version) ..."
	@mkdir -p $(@D) && rm -f $(CACHE)/bin/golangci-lint-*
	@cd tools && $(GO) build -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: arch
arch: ## the import table and the other rules of the layout
	@$(GO) test -vet=off -count=1 ./internal/arch

.PHONY: schemas
schemas: ## the message schemas compile, and their fixtures pass the schema and the codec alike
	@$(GO) test -vet=off -count=1 ./schemas/...

.PHONY: deploy
deploy: ## deploy/ as Kubernetes, Prometheus, Grafana and the programs will read it (apt: scripts/kube-install)
	@cd deploy/check && $(GO) vet ./... && $(GO) test -vet=off -count=1 ./...
	@cd deploy/compose/vendors && $(GO) vet ./... && $(GO) test -vet=off ./...

.PHONY: deploy-files
deploy-files: ## write the files under deploy/ that are made from others
	@cd deploy/check && $(GO) test -vet=off -count=1 -run '^TestTheFilesThatAreMadeFromOthersAreUpToDate$$' . -update

.PHONY: check-k8s
check-k8s: ## the manifests on a real Kubernetes API server, built once (apt: scripts/kube-install)
	@scripts/kube-check
