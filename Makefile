# `make` alone lists the targets; a line with two hashes describes one.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
UV_VERSION := 0.13.9
TYPES := MYPYPATH=plugins $(BIN)/mypy --strict plugins

# Addresses hold `&`, `?` and `$$`: they go to the shell as environment, never as text of a recipe.
override SOURCE := $(value SOURCE)
override START := $(value START)
override END := $(value END)
override FROM := $(value FROM)
override PACK := $(value PACK)
export SOURCE START END FROM PACK
override ORDERS := $(value ORDERS)
override MERCHANTS := $(value MERCHANTS)
override DAYS := $(value DAYS)
export ORDERS MERCHANTS DAYS
override PLATFORM := $(value PLATFORM)
override RELEASE := $(value RELEASE)
export PLATFORM RELEASE
override KILLS := $(value KILLS)
export KILLS
override MINUTES := $(value MINUTES)
export MINUTES
override RECORD := $(value RECORD)
override PREVIEW := $(value PREVIEW)
override RETRY := $(value RETRY)
override REPLAY := $(value REPLAY)
override ACKNOWLEDGE := $(value ACKNOWLEDGE)
override SNOOZE := $(value SNOOZE)
override UNTIL := $(value UNTIL)
override REASON := $(value REASON)
override BY := $(value BY)
export PREVIEW RETRY REPLAY ACKNOWLEDGE SNOOZE UNTIL REASON BY
override ALL := $(value ALL)
export RECORD ALL

export PYTHONPATH := $(CURDIR)/plugins
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- what a person runs -----------------------------------------------------------------------

.PHONY: run
run: $(VENV)/.installed ## run the daily job [SOURCE=addresses START=date END=date]
	@$(BIN)/python -m redline.run --source "$$SOURCE" --start "$$START" --end "$$END"

.PHONY: restate
restate: $(VENV)/.installed ## rewrite published dates from one on: FROM=date [SOURCE=address]
	@if [ -z "$$FROM" ]; then echo "Error: no date (FROM): make restate FROM=2026-03-01"; exit 1; fi
	@$(BIN)/python -m redline.run --source "$$SOURCE" --restate-from "$$FROM"

.PHONY: serve
serve: $(VENV)/.installed ## start Airflow here, with its web page and REST API [SOURCE=address]
	@$(BIN)/python -m redline.serve --source "$$SOURCE"

.PHONY: check-source
check-source: $(VENV)/.installed ## hold a source against the contract, without a run: SOURCE=address
	@$(BIN)/python -m redline.check_source "$$SOURCE" $${START:+"$$START"} $${END:+"$$END"}

.PHONY: check-policies
check-policies: $(VENV)/.installed ## name every fault of the policy packs in force, without a run
	@$(BIN)/python -m redline.policies

.PHONY: backtest
backtest: $(VENV)/.installed ## compare a policy pack with those in force: PACK=name-or-file START=date END=date
	@$(BIN)/python -m redline.backtest --pack "$$PACK" --start "$$START" --end "$$END"

.PHONY: explain
explain: $(VENV)/.installed ## tell why a record is open, or list those that are [RECORD=id ALL=1]
	@$(BIN)/python -m redline.explain $${ALL:+--all} -- "$$RECORD"

.PHONY: alerts
alerts: $(VENV)/.installed ## list messages that wait [PREVIEW=id, RETRY=failed, ...]
	@$(BIN)/python -m redline.alerts --preview="$$PREVIEW" --retry="$$RETRY" --replay="$$REPLAY" \
		--acknowledge="$$ACKNOWLEDGE" --snooze="$$SNOOZE" --until="$$UNTIL" --reason="$$REASON" --by="$$BY"

.PHONY: quarantine
quarantine: $(VENV)/.installed ## list what waits in quarantine, or try it again [PLATFORM=name RELEASE=1]
	@$(BIN)/python -m redline.quarantine --platform "$$PLATFORM" $${RELEASE:+--release}

.PHONY: bench
bench: $(VENV)/.installed-dev ## time the transform, look for incidents [ORDERS=n MERCHANTS=n DAYS=n]
	@$(BIN)/python -m benchmarks.run

.PHONY: calibrate
calibrate: $(VENV)/.installed-dev ## are projections right as often as they say, on 200 marketplaces
	@$(BIN)/python -m benchmarks.calibration

.PHONY: soak
soak: $(VENV)/.installed-dev ## kill extraction at random moments, over and over [KILLS=n]
	@PYTHONPATH="$$PYTHONPATH:." $(BIN)/python -m tests.plugins.redline.landing.killing $${KILLS:-100}

.PHONY: soak-alerts
soak-alerts: $(VENV)/.installed-dev ## kill the delivery of 1,000 alerts at random moments [KILLS=n]
	@PYTHONPATH="$$PYTHONPATH:." $(BIN)/python -m tests.plugins.redline.alerts.killing $${KILLS:-200} 1000

.PHONY: api
api: $(VENV)/.installed-api ## install what the open APIs of platforms need

# --- what a developer runs ---------------------------------------------------------------------

# Types take most of a minute of one processor: they are checked beside the tests, and told after
# them. Three processes share what are often two processors: one waits for a scheduler or a server.
.PHONY: test
test: style dbt-check servers ## everything: lint, types, the dbt project, all tests
	@said="$$(mktemp)"; trap 'rm -f "$$said"' EXIT; failed=0; \
	$(TYPES) > "$$said" 2>&1 & types=$$!; \
	$(BIN)/python -m pytest --numprocesses 3 --dist loadgroup --no-loadscope-reorder || failed=$$?; \
	wait $$types || failed=$$?; cat "$$said"; exit $$failed

# Tests read from real databases; where one cannot be installed, its tests say that they skip.
.PHONY: servers
servers:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	  command -v mariadbd > /dev/null && ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1 || { \
	    echo "Installing the databases that tests read from ..."; \
	    apt-get update --quiet=2 && DEBIAN_FRONTEND=noninteractive \
	      apt-get install --yes --quiet=2 postgresql mariadb-server-core; } > /dev/null; \
	fi

.PHONY: fuzz
fuzz: $(VENV)/.installed-dev ## feed damaged files to the readers, for ten minutes [MINUTES=n]
	@$(BIN)/python -m tests.plugins.redline.sources.fuzz "$${MINUTES:-10}"

.PHONY: lint
lint: style types ## style and types, changing nothing

.PHONY: style
style: $(VENV)/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/sqlfmt --check --no-progressbar dbt_project

.PHONY: types
types: $(VENV)/.installed-dev
	@$(TYPES)

.PHONY: format
format: $(VENV)/.installed-dev ## put Python and SQL into their style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/sqlfmt --no-progressbar dbt_project

.PHONY: dbt-check
dbt-check: $(VENV)/.installed-dev ## parse the dbt project, warnings being errors
	@REDLINE_HOME="$$(mktemp -d)" && export REDLINE_HOME && \
	$(BIN)/dbt --quiet --warn-error parse --no-partial-parse --project-dir dbt_project \
	  --profiles-dir dbt_project --target-path "$$REDLINE_HOME" --log-path "$$REDLINE_HOME"

# --- the environment ---------------------------------------------------------------------------

.PHONY: setup
setup: $(VENV)/.installed-dev ## make the virtual environment with all that development needs

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	  echo "Error: $(PYTHON) is not Python 3.11 to 3.13: make PYTHON=python3.11 ..."; exit 1; }
	@echo "Making the virtual environment in $(VENV) (once, about a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/.installed: requirements.txt | $(UV)
	@$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.installed-api: requirements-api.txt $(VENV)/.installed
	@$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-api.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@echo "Installing what development needs ..."
	@$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-dev.txt
	@touch $@

.PHONY: clean
clean: ## remove caches and the virtual environment; the home stays
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dbt_project/target dbt_project/logs
	@find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
