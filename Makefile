# Everything a person types. Each target does its own set-up: the first one on a fresh machine makes .venv from the lock.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The first that is new enough: the one called python3 may be older than others beside it, or not there at all.
IS_NEW := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(or $(shell for name in python3 python3.13 python3.12 python3.11 python3.14 python3.15; do \
  if "$$name" $(IS_NEW) 2>/dev/null; then echo "$$name"; break; fi; done),python3)
# A virtualenv whose Python is gone, another one by now, or not the one that was asked for (make PYTHON=…) is made anew.
KIND := -c 'import sysconfig; print(sysconfig.get_config_var("SOABI"))'
IS_ASKED = $(if $(findstring command,$(origin PYTHON)),&& test "$$($(BIN)/python $(KIND))" = "$$($(PYTHON) $(KIND))")
FITS = { $(BIN)/python -c 'import pip' $(IS_ASKED); } 2>/dev/null
$(shell test ! -e $(READY) || $(FITS) || rm -f $(READY))
# Nothing is compiled unasked: that takes a compiler, and build tools that no lock holds.
ONLY_BINARY ?= :all:
WORKERS ?= 2
SOURCES := services simulators dev migrations bench tests
# Compiled code is kept whatever the machine's settings: pytest would rewrite all assertions in every worker of every run.
export PYTHONDONTWRITEBYTECODE :=
ARGS ?=

.PHONY: help
help: ## Print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  \033[36mmake %-14s\033[0m %s\n", $$1, $$2 }'

# ---------------------------------------------------------------------------- the product

.PHONY: run
run: $(READY) ## Start everything: Postgres, three services, two simulators; Ctrl-C stops it
	@exec $(BIN)/python -m dev.stack $(ARGS)

.PHONY: demo
demo: $(READY) ## Tell the whole story of an order, step by step, on the running stack or its own
	@exec $(BIN)/python -m dev.demo $(ARGS)

.PHONY: token
token: $(READY) ## Print a signed token: make token ARGS="--sub alice --scope customer"
	@$(BIN)/python -m dev.token $(ARGS)

.PHONY: webhook
webhook: $(READY) ## Print a signed payment webhook as curl: ARGS="--order-id … --outcome succeeded"
	@$(BIN)/python -m dev.webhook $(ARGS)

.PHONY: migrate
migrate: $(READY) ## Bring the databases to their newest schema (those of *_DATABASE_URL, else the embedded ones)
	@$(BIN)/python -m dev.migrate $(ARGS)

.PHONY: psql
psql: $(READY) ## Open psql on a service's database: make psql ARGS=orchestrator
	@exec $(BIN)/python -m dev.psql $(ARGS)

.PHONY: reset
reset: $(READY) ## Throw the development data away (.data/); refuses while the stack runs
	@$(BIN)/python -m dev.reset

# ---------------------------------------------------------------------------- the checks

.PHONY: test
test: $(READY) ## Run every test tier on two cores (the compose tier is skipped: see compose-test)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

.PHONY: fuzz
fuzz: $(READY) ## 10,000 made-up requests to each service: no 5xx, nothing undocumented: ARGS="--requests 500 --seed 7"
	@$(BIN)/python -m dev.fuzz $(ARGS)

.PHONY: soak
soak: $(READY) ## The whole system under load and faults: ARGS="--part chaos --minutes 30 --seed 7"
	@$(BIN)/python -m dev.soak $(ARGS)

.PHONY: check
check: lint types arch audit test ## Everything that continuous integration looks at

.PHONY: audit
audit: $(READY) ## bandit over the code, pip-audit over the packages of the lock
	@$(BIN)/bandit -q -c pyproject.toml -r services simulators dev migrations
	@$(BIN)/python -m dev.audit $(ARGS)

.PHONY: openapi
openapi: $(READY) ## Write the OpenAPI documents to docs/openapi, against which tests look for breaking changes
	@$(BIN)/python -m dev.openapi $(ARGS)

.PHONY: format
format: $(READY) ## Format the code and fix what can be fixed safely
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

.PHONY: lint
lint: $(READY) ## ruff: formatting and all rules
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)

.PHONY: types
types: $(READY) ## mypy --strict
	@$(BIN)/mypy

.PHONY: arch
arch: $(READY) ## Who may import whom
	@$(BIN)/lint-imports

.PHONY: sweep
sweep: $(READY) ## An order with a crash at every point, then pairs of crashes: ARGS="--pairs 2000 --seed 42"
	@$(BIN)/python -m dev.sweep $(ARGS)

.PHONY: scenarios
scenarios: $(READY) ## The catalogue of behaviours and the tests that cover each
	@$(BIN)/python -m dev.scenarios $(ARGS)

.PHONY: record
record: $(READY) ## Keep the logs of orders that this release writes, for later ones to replay: RELEASE=1.2.0
	@RECORDED_RELEASE=$(RELEASE) $(BIN)/python -m pytest -q tests/postgres/orchestrator/test_recording.py

.PHONY: figures
figures: $(READY) ## Write the figures of docs/guarantees.md; ARGS="--full" first runs all falsifiers at full size
	@$(BIN)/python -m dev.guarantees $(ARGS)

.PHONY: mutants
mutants: $(READY) ## Plant known bugs in copies of the tree: each falsifier must go red; ARGS="--only fence-by-name"
	@$(BIN)/python -m dev.mutants $(ARGS)

.PHONY: bench
bench: $(READY) ## Rates, latencies and CPU per order of the engine and the whole system, in under three minutes
	@$(BIN)/python -m bench $(ARGS)

.PHONY: bench-peers
bench-peers: $(READY) ## The same beside DBOS, Restate and Absurd, which it installs under .data; an hour
	@$(BIN)/python -m bench peers $(ARGS)

.PHONY: pgbouncer-test
pgbouncer-test: $(READY) ## Run the orders through PgBouncer in transaction mode; skipped where none is installed
	@$(BIN)/python -m dev.pgbouncer $(ARGS)

.PHONY: compose-test
compose-test: $(READY) ## Build the image and run the order scenarios against docker compose
	@ORDER_SAGA_COMPOSE=1 $(BIN)/python -m pytest tests/compose -v $(ARGS)

# ---------------------------------------------------------------------------- set-up

.PHONY: lock
lock: $(READY) ## Resolve the dependencies anew into the lock files (versions and hashes, no address)
	@$(BIN)/pip install --quiet --upgrade uv
	@$(BIN)/python -m dev.lock $(ARGS)

$(READY): requirements.lock requirements-dev.lock
	@$(PYTHON) $(IS_NEW) 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed; '$(PYTHON)' is $$($(PYTHON) -V 2>&1 || true). Try: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(FITS) || { \
	  echo "making $(VENV) with $$($(PYTHON) -V)" >&2; $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "the venv module is missing: on Debian, apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }; }
	@echo "installing the packages of the lock (about half a minute the first time)" >&2
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --only-binary $(ONLY_BINARY) \
	  -r requirements.lock -r requirements-dev.lock || { \
	  echo "the packages cannot be installed: pip reaches its index by your network and its settings (http_proxy," \
	    "PIP_INDEX_URL); say make again once it does. Where it does, one of them has no wheel for $$($(BIN)/python -V)" \
	    "on this machine: take another Python (make PYTHON=python3.13 …) or compile it (make ONLY_BINARY=:none: …)" >&2; exit 1; }
	@touch $(READY)
