# The two commands that matter: `make demo` and `make test`. `make help` lists all.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Python would fail to start, with a misleading message about an enum.
ifneq ($(wildcard operator/__init__.py),)
$(error operator/__init__.py shadows Python's own module operator: remove it. \
operator/ is a source root; the package is operator/mlflow_model_operator)
endif

export MMO_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mlflow-model-operator
export PATH := $(CURDIR)/.venv/bin:$(MMO_CACHE)/bin:$(PATH)
export PYTHONPATH := $(CURDIR)/operator:$(CURDIR)/scoring:$(CURDIR)
# Bytecode of imported modules goes into .venv, so that `make clean` removes it.
export PYTHONPYCACHEPREFIX := $(CURDIR)/.venv/pycache
export PYTHONDONTWRITEBYTECODE :=

PYTHON ?= python3
VENV := .venv/.complete-$(shell cat requirements.lock pyproject.toml | sha256sum | cut -c1-12)
# Runs a step and prints what it does, how long it took last time, and how long it takes now.
STEP := $(PYTHON) -m dev.cluster.progress

.PHONY: help
help: ## Show this help
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

include dev/cluster/cluster.mk
include images/images.mk

$(VENV): requirements.lock
	@$(STEP) "Python environment" --expected 30 -- ./dev/venv.sh
	@touch $@

# Independent targets are made in parallel: the Python environment, the images, the cluster.
.PHONY: demo ready
demo: ## Bring up a cluster, an MLflow server and the operator, and serve a model
	@$(MAKE) --no-print-directory -j2 ready
	@. .cluster/env && python -m dev.demo

ready: images $(VENV)

.PHONY: test
test: check test-unit test-parity test-clients test-versions test-integration test-e2e test-docs ## Run all tests

.PHONY: check
check: $(VENV) ## Format, lint, types, import layers, generated files, documentation, workflows (seconds)
	@$(STEP) "Format" --expected 1 -- ruff format --check --quiet .
	@$(STEP) "Lint" --expected 1 -- ruff check --quiet .
	@$(STEP) "Types" --expected 10 -- mypy --no-error-summary operator/mlflow_model_operator scoring/mlflow_model_server charts images dev e2e tests benchmarks
	@$(STEP) "Import layers" --expected 2 -- lint-imports
	@$(STEP) "Generated files" --expected 3 -- ./dev/generated.sh --check
	@$(STEP) "Documentation and its links" --expected 5 -- python -m dev.site
	@$(STEP) "Workflows" --expected 1 -- ./dev/workflows.sh
	@python -m dev.advisories
	@# Contentless names and long functions: docs/decisions/0016-names-are-measured.md.
	@$(STEP) "Names" --expected 1 -- python -m dev.code_metrics --check

.PHONY: docs
docs: $(VENV) ## Build the documentation as a website in .site/html
	@python -m dev.site && echo "Open .site/html/index.html."

.PHONY: test-unit
test-unit: $(VENV) ## Run unit and golden tests, which need no cluster
	@pytest -q tests/unit tests/golden tests/attack tests/fuzz

# What crashes a fuzzer is left in .fuzz/.
FUZZ_SECONDS ?= 600
.PHONY: fuzz
fuzz: $(VENV) ## Fuzz each decoder of the scoring server, for FUZZ_SECONDS each
	@mkdir -p .fuzz
	@for file in $$(grep -l '^with atheris' tests/fuzz/*.py); do \
	  python -W ignore -m $$(echo $${file%.py} | tr / .) -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=.fuzz/; \
	done

.PHONY: test-parity
test-parity: $(VENV) ## Compare the scoring server's responses with MLflow's, for a subset of the requests
	@pytest -q tests/parity

.PHONY: parity
parity: $(VENV) ## Compare them for all requests, and with PyTorch and TensorFlow
	@PARITY=full pytest -q -n 2 --dist loadgroup tests/parity
	@./tests/parity/deep.sh

.PHONY: test-clients
test-clients: $(VENV) ## Test with curl, Java, Node, Go, Python and gRPC clients (REQUIRE_CLIENTS=1: fail if one is missing)
	@pytest -q tests/clients

.PHONY: test-versions
test-versions: $(VENV) ## Prepare and serve models of the oldest and newest MLflow, with packages from PyPI
	@pytest -q tests/mlflow_versions

.PHONY: mlflow-matrix
mlflow-matrix: $(VENV) ## Run test-versions with more versions and flavors
	@MLFLOW_MATRIX=full pytest -q tests/mlflow_versions

.PHONY: test-integration
test-integration: $(VENV) tools ## Test the operator with a real API server and a real MLflow server
	@pytest -q tests/integration

.PHONY: test-e2e
test-e2e: images $(VENV) ## Run end-to-end tests on a real cluster, with the Helm chart
	@. .cluster/env && pytest -q -n 2 --dist loadgroup -m "not slow and not docs and not releases" e2e

.PHONY: e2e-rollouts
e2e-rollouts: images $(VENV) ## Run releases of every kind under load, and publish the requests that each lost (35 minutes)
	@. .cluster/env && pytest -q -m releases e2e
	@python -m e2e.releases.results

.PHONY: test-docs
test-docs: cluster $(VENV) ## Run the commands in the docs on the cluster, replacing its operator
	@. .cluster/env && pytest -q -m docs e2e/test_docs.py e2e/test_docs_pages.py

.PHONY: test-slow
test-slow: images $(VENV) ## Run slow end-to-end tests: an image built by `mlflow models build-docker`
	@. .cluster/env && pytest -q -m slow e2e

.PHONY: test-pythons
test-pythons: $(VENV) ## Test the scoring server with each supported Python version
	@pytest -q tests/pythons

.PHONY: format
format: $(VENV) ## Format the code
	@ruff format . && ruff check --fix .

.PHONY: generate
generate: $(VENV) ## Regenerate files: CRD, API reference, the chart's copies
	@./dev/generated.sh

.PHONY: clean
clean: cluster-clean ## Stop and remove everything that was started, but keep the builds in the cache
	@rm -rf .venv .site
