# What there is to do: make help

GO          ?= go
GOFLAGS     ?=
BIN         := bin/firebreak
VERSION     ?=
NAMED       := $(if $(VERSION), -ldflags '-X github.com/firebreak-proxy/firebreak/internal/version.version=$(VERSION)')
CADDY       := v2.11.9
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.0
GOLANGCI    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.2
GOFUMPT     := mvdan.cc/gofumpt@v0.9.2
GOTESTSUM   := gotest.tools/gotestsum@v1.13.0
XCADDY      := github.com/caddyserver/xcaddy/cmd/xcaddy@v0.4.5

export GOFLAGS

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/firebreak: Caddy with its standard modules and firebreak
	$(GO) build$(NAMED) -o $(BIN) ./cmd/firebreak

.PHONY: run
run: build ## start an API server, 12 zones and firebreak, and say what to curl
	$(GO) run ./examples/outage run -firebreak $(BIN) -config Caddyfile

SCENARIO ?= freeze
.PHONY: outage
outage: build ## play a fault through plain Caddy and through firebreak (SCENARIO=freeze|culprits|slow|refuse|surge|restart)
	$(GO) run ./examples/outage scenario -firebreak $(BIN) $(SCENARIO)

TIMES ?= 10
.PHONY: outages
outages: ## play the five outages of docs/replay.md in virtual time: people's minutes, firebreak's seconds (TIMES=10)
	$(GO) run ./examples/outages -times $(TIMES) -logs bin/outages

# gotest runs the tests of packages $(1) with flags $(2). With RERUN=1 a few
# tests that fail are run once more, whole, and listed in bin/flaky-*.txt: some take
# real time on machines that others use too. A data race is never tried again.
gotest = $(if $(RERUN),mkdir -p bin && $(GO) run $(GOTESTSUM) --format $(if $(findstring -v,$(2)),standard-verbose,standard-quiet) \
	--rerun-fails=1 --rerun-fails-max-failures=6 --rerun-fails-run-root-test --rerun-fails-abort-on-data-race \
	--rerun-fails-report=bin/flaky-$@.txt --packages '$(1)' -- $(2),$(GO) test $(2) $(1))

.PHONY: test
# The race detector needs a C compiler.
RACE := $(shell command -v "$$($(GO) env CC)" >/dev/null 2>&1 && echo -race)
test: ## unit, property and in-process tests, with the race detector
	$(call gotest,./...,$(RACE) -count=1 -timeout 15m)

.PHONY: e2e
e2e: build ## real parts: gunicorn, PHP-FPM, PostgreSQL, MariaDB, Redis, wrk, h2load (Debian packages; see CONTRIBUTING.md)
	$(call gotest,./mysql/ ./redis/ ./workers/ ./e2e/,-tags e2e -count=1 -p 1 -timeout 60m -v)

.PHONY: freeze
ROUNDS ?= 5
freeze: build ## what a freeze does to other zones, ROUNDS times; strict, 5 minutes a round
	FIREBREAK_STRICT=1 FIREBREAK_ROUNDS=$(ROUNDS) $(GO) test -tags e2e -count=1 -timeout 60m -v -run 'TestFreeze(FPMTransport|PHPFastCGI)?$$/^(round|stuck)' ./e2e/

.PHONY: bench
bench: build ## print the figures that docs/budgets.md promises
	$(GO) test -run '^$$' -bench . -benchtime 500ms ./breaker ./routing/... ./admin ./recent ./telemetry ./caddymodule
	$(GO) run ./examples/budget -firebreak $(BIN)
	$(GO) test -tags e2e,million -count=1 -run PostgresMillion -v ./e2e

HOURS ?= 10000
.PHONY: oracle
OUTAGES ?= 1000
oracle: ## random outages in virtual time, compared with an oracle that knows what is ill
	FIREBREAK_OUTAGES=$(OUTAGES) $(GO) test -run Oracle -count=1 -timeout 2h -v ./breaker

.PHONY: soak
soak: ## HOURS hours of healthy noise, and of fleets in which some lie, in virtual time, in pools of 8 to 1,000 workers (10,000 take forty minutes of two cores)
	FIREBREAK_NOISE_HOURS=$(HOURS) $(GO) test -run "HealthyNoise|FleetOfLiars" -count=1 -timeout 24h -v ./breaker
	$(GO) test -run Scale -count=1 -v ./fleet
	$(GO) test -count=1 ./breaker # in full: make test plays less, since the race detector is slow

.PHONY: isolation
isolation: ## ten million shuffled requests, none of which may get another's answer from memory
	$(GO) test -run Isolation -count=1 -timeout 1h -v ./stale -isolation.requests 10000000

.PHONY: fuzz
FUZZTIME ?= 30s
fuzz: ## run every fuzz target for FUZZTIME
	@for pkg in breaker internal/http1 routing routing/lookup maintenance redis caddymodule replay; do \
	  for f in $$($(GO) test -list '^Fuzz' ./$$pkg | grep ^Fuzz); do \
	    $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) ./$$pkg || exit 1; \
	  done; \
	done

.PHONY: lint
# golangci-lint keeps its findings by content, with the paths of the checkout in
# which they were made: one cache for two checkouts loses nolint comments.
lint: ## gofumpt, go vet, staticcheck, golangci-lint, tidy go.mod
	@files=$$($(GO) run $(GOFUMPT) -l $$(git ls-files '*.go')); \
	  if [ -n "$$files" ]; then echo "not formatted (make fmt):"; echo "$$files"; exit 1; fi
	$(GO) vet ./... && $(GO) vet -tags e2e,million ./e2e/ ./mysql/ ./redis/ ./workers/
	$(GO) run $(STATICCHECK) -tags e2e,million ./...
	GOLANGCI_LINT_CACHE=$(CURDIR)/bin/golangci-lint $(GO) run $(GOLANGCI) run --build-tags e2e,million ./...
	$(GO) mod tidy -diff

.PHONY: fmt
fmt: ## format everything
	$(GO) run $(GOFUMPT) -w $$(git ls-files '*.go')

.PHONY: xcaddy
xcaddy: ## type the xcaddy commands of the pages, and check that firebreak's modules are in
	./build/xcaddy.sh $(XCADDY) $(CADDY)

.PHONY: dist
dist: ## binaries, .deb, .rpm, image, SBOM and checksums into dist/ (TARGETS=linux/amd64 for one platform)
	VERSION=$(VERSION) ./build/dist.sh

.PHONY: pictures
pictures: build ## take the pictures of the README again, from a real run (Chromium; ports of make run)
	$(GO) run ./examples/pictures -firebreak $(BIN) -to docs/images

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
