# Hammerwork. `make help` tells what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export CLUSTER ?= local

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-zA-Z0-9_-]+:.*## / {printf "  \033[1m%-18s\033[0m %s\n", $$1, $$2} /^##@/ {printf "\n%s\n", substr($$0, 5)}' $(MAKEFILE_LIST)

##@ Try it

.PHONY: run
run: $(VENV)/installed ## Run examples/data-processing with an embedded PostgreSQL, without a cluster
	$(BIN)/hammerwork run examples/data-processing/

.PHONY: demo
demo: packages $(VENV)/installed ## Cluster, images, Helm install, examples; watch them to Complete
	scripts/demo.sh

.PHONY: demo-down
demo-down: $(VENV)/installed ## Remove what the demo installed, and the cluster
	$(BIN)/python -m tests.cluster down

##@ Develop

.PHONY: packages
packages: ## Install the Debian packages that building and testing need (as root or with sudo)
	scripts/install-packages.sh

.PHONY: venv
venv: $(VENV)/installed ## Make the Python environment in .venv, from hashed pins

$(VENV)/installed: requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or later is needed, {sys.version.split()[0]} is not")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

.PHONY: requirements
requirements: $(VENV)/installed ## Resolve the pins in requirements/ anew, with hashes
	for extra in operator worker dev; do \
	  $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 \
	    --extra $$extra pyproject.toml --no-emit-package hammerwork-operator --output-file requirements/$$extra.txt; \
	done
	echo hatchling | $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  --universal --python-version 3.11 --constraint requirements/dev.txt --output-file requirements/build.txt -

.PHONY: format
format: $(VENV)/installed ## Format the Python code
	$(BIN)/ruff check --quiet --fix-only .
	$(BIN)/ruff format .

.PHONY: generated
generated: $(VENV)/installed ## Make crds/, the chart's copy and docs/reference from the typed API
	$(BIN)/python -m hammerwork_operator.generated --write .

.PHONY: scaling-picture
scaling-picture: $(VENV)/installed ## Simulate a day of autoscaling and draw it (docs/scaling-day.svg)
	$(BIN)/python scripts/scaling_day.py

.PHONY: verify
verify: $(VENV)/installed ## Check format, lint, types, import layers and generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m hammerwork_operator.generated --check .

##@ Test

.PHONY: test
test: packages $(VENV)/installed cluster-build ## Everything: unit, database, programs, chaos, API server, end-to-end on a real cluster
	$(BIN)/pytest --numprocesses 4 --durations=15 --durations-min=5

.PHONY: test-unit
test-unit: $(VENV)/installed ## Tests that need no server; some need helm or Go (cluster-build makes what they start)
	$(BIN)/pytest tests/unit

.PHONY: test-database
test-database: $(VENV)/installed ## Tests on real database servers (SERVERS=all|NAMES: on these; URL=postgresql://…|mysql://…: on yours)
	$(BIN)/pytest tests/database $(if $(SERVERS),--servers '$(SERVERS)') $(if $(URL),--database-url '$(URL)')

.PHONY: test-programs
test-programs: $(VENV)/installed ## Tests of the command line and the worker's process, as users start them (SERVERS, URL: as above)
	$(BIN)/pytest tests/programs $(if $(SERVERS),--servers '$(SERVERS)') $(if $(URL),--database-url '$(URL)')

.PHONY: test-chaos
test-chaos: $(VENV)/installed ## Workers, servers and networks fail: the short form, as part of `make test`
	$(BIN)/pytest tests/chaos

.PHONY: chaos
chaos: $(VENV)/installed ## The long form: 5 minutes of chaos, on both databases (ARGS="--seed N --seconds N")
	$(BIN)/python -m tests.chaos $(ARGS)

.PHONY: test-apiserver
test-apiserver: $(VENV)/installed cluster-build ## Tests on a real API server, most with PostgreSQL (SERVERS=mariadb: with MariaDB)
	$(BIN)/pytest tests/apiserver $(if $(SERVERS),--servers '$(SERVERS)')

.PHONY: test-e2e
test-e2e: $(VENV)/installed cluster-build ## Tests on a real cluster: kubelet, images, chart
	$(BIN)/pytest tests/e2e

##@ Measure

.PHONY: bench
bench: packages $(VENV)/installed ## Measure this queue; renews benchmarks/results.json and docs/benchmarks.md
	scripts/install-packages.sh parallel
	$(BIN)/python -m benchmarks ours
	$(BIN)/python -m benchmarks report

.PHONY: bench-operator
bench-operator: packages $(VENV)/installed cluster-build ## Measure the operator beside 5,000 JobBatches, on a control plane
	$(BIN)/python -m benchmarks operator
	$(BIN)/python -m benchmarks report

.PHONY: measure-million
measure-million: $(VENV)/installed cluster-build ## A million jobs on a real cluster, and an Indexed Job beside a JobBatch: prints tables
	$(BIN)/pytest tests/e2e/million.py --capture=no

.PHONY: bench-peers
bench-peers: packages $(VENV)/installed ## Measure other queues and this one in turn (npm, pip and cargo install them once)
	$(BIN)/python -m benchmarks peers
	$(BIN)/python -m benchmarks report

##@ Cluster (CLUSTER=local, kind or current)

.PHONY: cluster-build
cluster-build: packages $(VENV)/installed ## Build the cluster's programs, once per version
	$(BIN)/python -m tests.cluster build

.PHONY: cluster-up
cluster-up: cluster-build ## Start a real one-node Kubernetes
	$(BIN)/python -m tests.cluster up

.PHONY: cluster-status
cluster-status: $(VENV)/installed ## Tell what of it runs
	$(BIN)/python -m tests.cluster status

.PHONY: cluster-down
cluster-down: $(VENV)/installed ## Stop it and leave nothing behind
	$(BIN)/python -m tests.cluster down

.PHONY: controlplane-up
controlplane-up: cluster-build ## Start a control plane without a node
	$(BIN)/python -m tests.cluster controlplane-up

.PHONY: controlplane-down
controlplane-down: $(VENV)/installed ## Stop it
	$(BIN)/python -m tests.cluster controlplane-down

.PHONY: images
images: packages $(VENV)/installed ## Build the images (CONTAINER_TOOL=docker, or buildah where there is no Docker engine)
	scripts/build-images.sh
