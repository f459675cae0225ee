# `make help` lists what there is. Each target sets up what it needs in .venv; plain `python3 -m venv` and pip are enough.
# Another Python: make PYTHON=/path/to/python …     Arguments for what is run: make run ARGS="--help"

PYTHON ?=
ARGS ?=
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet --no-input

# The kernel, whose branch coverage `make coverage` holds.
KERNEL := errors/* elements/* channels/* stages/* graph/* runtime/* observe/*
KERNEL_COVERAGE := 97
comma := ,
empty :=
space := $(empty) $(empty)

# Tests start many processes, each of which would compile the package anew. `make clean` removes what is kept of it.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-fast coverage conformance test-services lint fmt types arch bench bench-quick bench-figures docs changelog dist check clean FORCE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.stamp-run ## start the chat in the terminal, offline; ARGS="--help" shows what else it can
	@$(PY) -m streamflow chat $(ARGS)

test: $(VENV)/.stamp-test ## run the tests; with ARGS ("-k name") only those
	@$(PY) -m pytest -m "not services" $(or $(strip $(ARGS)),-n auto)

coverage: $(VENV)/.stamp-test ## run the tests once more under coverage, and hold that of the kernel
	@$(PY) -m coverage erase
	@$(PY) -m coverage run -m pytest -n auto -m "not services"
	@$(PY) -m coverage combine --quiet
	@echo "==> coverage of the kernel: at least $(KERNEL_COVERAGE) %"
	@$(PY) -m coverage report --fail-under=$(KERNEL_COVERAGE) \
		--include="$(subst $(space),$(comma),$(addprefix src/streamflow/,$(KERNEL)))"
	@echo "==> coverage of the whole package: $$($(PY) -m coverage report --format=total) %"

test-fast: $(VENV)/.stamp-test ## run the tests that take a blink; takes ARGS
	@$(PY) -m pytest -m "not slow and not services" $(ARGS)

conformance: $(VENV)/.stamp-test ## try all that the package ships by every rule, in every circumstance, on ten times the examples, 5 minutes; takes ARGS
	@CONFORMANCE_EFFORT=10 $(PY) -m pytest tests/contracts tests/testing/test_check_runtime.py -n auto -m "not services" $(ARGS)

test-services: $(VENV)/.stamp-test ## run the tests that start a real server process; takes ARGS
	@$(PY) -m pytest -m services $(ARGS)

lint: $(VENV)/.stamp-lint ## format and style, types, and the direction of imports
	@echo "==> ruff"
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(MAKE) --no-print-directory types arch

types: $(VENV)/.stamp-lint ## mypy, basedpyright, and how much of the public face is typed
	@echo "==> mypy"
	@$(PY) -m mypy
	@echo "==> basedpyright"
	@$(PY) -m basedpyright
	@echo "==> types of the public face"
	@out=$$(PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) -m basedpyright --verifytypes streamflow --ignoreexternal) \
		&& echo "$$out" | grep "Type completeness" || { echo "$$out"; exit 1; }

arch: $(VENV)/.stamp-lint ## the direction of imports
	@echo "==> import contracts"
	@$(VENV)/bin/lint-imports --no-logo

fmt: $(VENV)/.stamp-lint ## format the code and repair what can be repaired
	@$(PY) -m ruff check --fix --quiet . || true
	@$(PY) -m ruff format .

bench: $(VENV)/.stamp-bench ## run all benchmarks beside all peers, under 15 minutes; takes ARGS
	@$(PY) -m benchmarks --json benchmarks/results/full.json --plot benchmarks/results/full.svg $(ARGS)

bench-quick: $(VENV)/.stamp-bench ## the same with small numbers and the nearest peers, under 90 seconds; takes ARGS
	@$(PY) -m benchmarks --quick --json benchmarks/results/quick.json --plot benchmarks/results/quick.svg $(ARGS)

bench-figures: $(VENV)/.stamp-bench ## write the figures of the last `make bench` into the pages that tell them
	@$(PY) -m benchmarks.figures benchmarks/results/full.json

docs: $(VENV)/.stamp-test ## run the code in README and docs, and check the links
	@$(PY) -m pytest tests/docs $(ARGS)

changelog: $(VENV)/.stamp-run ## show the change notes that wait for the next release
	@$(PY) scripts/changelog.py

dist: $(VENV)/.stamp-dist ## build sdist and wheel, and try the wheel in a clean environment
	@rm -rf dist
	@$(PY) -m build --outdir dist . >/dev/null
	@scripts/try_wheel.sh $(PY) dist/*.whl

check: lint test test-services ## what must pass before a change goes in

clean: ## remove what was built and measured, and .venv
	@rm -rf $(VENV) benchmarks/.venv-peers benchmarks/results build dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find src tests benchmarks examples scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The rule runs each time; what depends on the stamp is made anew only when the script has touched it.
$(VENV)/.stamp-venv: FORCE
	@scripts/venv.sh $(VENV) $(PYTHON)

$(VENV)/.stamp-run: $(VENV)/.stamp-venv pyproject.toml
	@echo "==> installing streamflow into $(VENV)" >&2
	@$(PIP) --editable '.[http]' </dev/null >&2
	@touch $@

$(VENV)/.stamp-test: $(VENV)/.stamp-venv pyproject.toml
	@echo "==> installing streamflow and its test tools into $(VENV)" >&2
	@$(PIP) --editable '.[all]' --group test </dev/null >&2
	@touch $@ $(VENV)/.stamp-run

$(VENV)/.stamp-lint $(VENV)/.stamp-bench: $(VENV)/.stamp-test
$(VENV)/.stamp-dist: $(VENV)/.stamp-run
$(VENV)/.stamp-lint $(VENV)/.stamp-bench $(VENV)/.stamp-dist: $(VENV)/.stamp-%:
	@echo "==> installing the $* tools into $(VENV)" >&2
	@$(PIP) --group $* </dev/null >&2
	@touch $@
