# Every target sets up what it needs: the virtual environment here, the cluster's binaries under the user's cache.
PYTHON ?= python3
BIN := .venv/bin
INSIDE := $(BIN)/python -m pdscale_e2e.namespace
IN_LANES = $(if $(filter 1,$(E2E_LANES)),$(INSIDE) $(BIN)/pytest,$(BIN)/pytest --dist loadfile --no-loadscope-reorder \
	  --tx "$(E2E_LANES)*popen//python=$(INSIDE) $(BIN)/python")
BENCHES := $(patsubst benchmarks/%/__main__.py,%,$(wildcard benchmarks/*/__main__.py))
BENCHES_HERE := $(if $(filter kind,$(PDSCALE_E2E_CLUSTER)),$(BENCHES),$(filter-out kind,$(BENCHES)))
BENCHES_HERE := $(if $(PDSCALE_TRACES),$(BENCHES_HERE),$(filter-out forecast planner questions,$(BENCHES_HERE)))
BENCHES_HERE := $(if $(PDSCALE_DYNAMO),$(BENCHES_HERE),$(filter-out dynamo,$(BENCHES_HERE)))
TESTS ?= tests
E2E ?= e2e
E2E_KIND ?= e2e/product
LANES ?= 3
TEST_LANES ?= 2
E2E_LANES ?= $(if $(filter existing,$(PDSCALE_E2E_CLUSTER)),1,2)
E2E_ENGINES ?= e2e/engines

.DEFAULT_GOAL := help
.PHONY: help setup check docs fmt test chaos e2e e2e-engines e2e-kind image compiled test-compiled demo crds bench bench-dynamo bench-forecast bench-gpu bench-kind bench-planner bench-policies bench-questions bench-router clean cluster-binaries manifests pictures

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@$(foreach b,$(BENCHES),printf "  make %-18s %s\n" bench-$(b) "benchmarks/$(b), rows to build/bench/$(b).json";)

setup: .venv/.ready ## the virtual environment with all dependencies

.venv/.ready: pyproject.toml
	@echo "setup: virtual environment and dependencies into .venv (a minute or two the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "setup: $(PYTHON) -m venv failed; install Python 3.11+ with venv"; exit 1; }
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "setup: Python 3.11 or newer is needed, got $$($(BIN)/python -V); set PYTHON="; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[operator,router,emulator,endpoint-picker]' --group dev
	@touch $@

cluster-binaries: setup ## Kubernetes, etcd, Prometheus and Helm, built once with Go
	@$(BIN)/python -m pdscale_e2e.binaries etcd kubernetes prometheus helm

check: setup docs ## format, lint, types, import contracts, drift of what is generated, links in the docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pdscale.api.crdgen --check
	$(BIN)/python -m install --check

docs: setup ## the documentation as a site in build/site; a broken link fails
	@$(BIN)/zensical build --strict

fmt: setup ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: setup ## unit tests
	$(BIN)/pytest -n $(TEST_LANES) $(TESTS)

compiled: setup ## the router compiled to C, in build/compiled-router (needs a C compiler)
	@$(BIN)/python -m pdscale_e2e.compiling

# Both ways in: this process's imports, and those of the programs that tests start.
test-compiled: compiled ## the tests of router and engines on what was compiled
	PDSCALE_COMPILED=1 PYTHONPATH=$(CURDIR)/build/compiled-router $(BIN)/pytest \
	  -o "pythonpath=build/compiled-router forecaster tests e2e" tests/router tests/engines

chaos: setup ## two minutes of random kills under load, in real processes
	PDSCALE_CHAOS_SECONDS=$${PDSCALE_CHAOS_SECONDS:-120} $(BIN)/pytest tests/chaos -s

# Each lane is a process in a namespace of its own, with its own cluster; E2E_LANES=1 for a debugger.
e2e: cluster-binaries ## tests on a real API server (PDSCALE_E2E_CLUSTER=local|existing)
	@$(BIN)/python -m pdscale_e2e.binaries promtool > /dev/null
	@$(BIN)/python -m pdscale_e2e.envoy > /dev/null || test -z "$(E2E_REQUIRED)"
	@$(INSIDE) true
	$(IN_LANES) $(E2E) --ignore e2e/engines

e2e-engines: cluster-binaries ## router and operator on real vLLM engines (PDSCALE_VLLM, PDSCALE_TINY_MODEL)
	$(INSIDE) $(BIN)/pytest --durations=15 $(E2E_ENGINES)

e2e-kind: setup ## the product's tests on kind: our images, Helm, mock GPUs from a device plugin (root, Docker or podman)
	@$(BIN)/python -m pdscale_e2e.binaries prometheus helm > /dev/null
	PDSCALE_E2E_CLUSTER=kind $(BIN)/python -m pdscale_e2e.standing $(BIN)/pytest -n $(LANES) --dist loadgroup \
	  --no-loadscope-reorder --durations=15 $(E2E_KIND)

image: setup ## container images and what is in them, by Docker or podman (IMAGES="router operator", SAVE=, BUNDLE=, COMPILED=1)
	@$(BIN)/python -m pdscale_e2e.images $(IMAGES) $(if $(filter-out 0,$(COMPILED)),--compiled) $(if $(SAVE),--save $(SAVE)) $(if $(BUNDLE),--bundle $(BUNDLE))

demo: cluster-binaries ## a cluster, a trace, two pools that resize themselves, a report (ENGINE=vllm: real engines)
	$(INSIDE) $(BIN)/python -m $(if $(filter vllm,$(ENGINE)),pdscale_e2e.engines.demo,pdscale_e2e.demo)

pictures: cluster-binaries ## the dashboards and the operator's page into docs/pictures, from a demo (needs chromium)
	$(INSIDE) $(BIN)/python -m pdscale_e2e.demo --pictures docs/pictures

crds: setup ## write the CRDs, their reference page and install/ from the models
	$(BIN)/python -m pdscale.api.crdgen --write
	$(BIN)/python -m install --write

manifests: setup ## write the dashboards and install/ from the chart
	$(BIN)/python -m install --write

# The namespace is the local cluster's; containers are reached from outside of it.
bench-%: cluster-binaries
	PDSCALE_E2E_CLUSTER=$(filter-out kind,$(PDSCALE_E2E_CLUSTER)) $(INSIDE) $(BIN)/python -m benchmarks.$* $(BENCH_ARGS)

# PDSCALE_TRACES names the folder of traces; some minutes. BENCH_ARGS="--peers PYTHON" compares with others' models.
bench-forecast: setup
	$(BIN)/python -m benchmarks.forecast $(BENCH_ARGS)

# PDSCALE_DYNAMO names a Python with ai-dynamo==1.4.2 (python -m benchmarks.dynamo --help says what else); some minutes.
bench-dynamo: setup
	$(BIN)/python -m benchmarks.dynamo $(BENCH_ARGS)

# Says that it was skipped where .venv has no PyTorch, or the machine no GPU.
bench-gpu: setup
	$(BIN)/python -m benchmarks.gpu $(BENCH_ARGS)

bench-kind: setup
	@$(BIN)/python -m pdscale_e2e.binaries prometheus helm > /dev/null
	$(BIN)/python -m benchmarks.kind

# Outside of the namespace: the peers' wheels come from the network once. BENCH_ARGS=--quick takes a minute, --compiled has ours twice.
bench-router: setup
	$(BIN)/python -m benchmarks.router $(BENCH_ARGS)

# PDSCALE_BENCH_TRACES="PATH PATH" names multi-round traces; without, sessions are drawn from published figures.
bench-policies: setup
	$(BIN)/python -m benchmarks.policies $(BENCH_ARGS)

# PDSCALE_TRACES and PDSCALE_PROFILES name folders; half an hour. BENCH_ARGS="--quick --only placement" takes less.
bench-questions: setup
	$(BIN)/python -m benchmarks.questions $(BENCH_ARGS)

# PDSCALE_TRACES names the folder of traces; ten minutes. BENCH_ARGS="--only azure2023_conv" takes less, --full hours.
bench-planner: setup
	$(BIN)/python -m benchmarks.planner $(BENCH_ARGS)

bench: $(addprefix bench-,$(BENCHES_HERE)) ## all benchmarks, then docs/results.md; kind's with PDSCALE_E2E_CLUSTER=kind
	$(BIN)/python -m benchmarks.results

clean: ## what the other targets made here
	rm -rf .venv .cache build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
