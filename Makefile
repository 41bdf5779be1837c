# SwiftPie needs git, make and Python 3.11 or newer; all else is installed into .venv.
PYTHON ?= python3
JOBS ?= 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
FAST := not slow and not gpu and not weights

.PHONY: demo setup test test-all golden parity check fix clean

demo: .venv/.runtime  ## make a picture with the embedded model
	$(BIN)/swiftpie demo --force

setup: .venv/.dev  ## install SwiftPie and the developer tools

test: .venv/.dev  ## run what runs on any laptop, offline
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile -m "$(FAST)"

test-all: .venv/.dev  ## run every test, also those that need a GPU or large weights
	$(BIN)/python -m pytest -q

golden: .venv/.dev  ## renew the thumbnails that tests compare pictures with; checks nothing
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.golden.renew

parity: .venv/.dev  ## compare with other implementations and print the differences
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.parity.report

check: .venv/.dev  ## look for faults, edit nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

fix: .venv/.dev  ## repair what a tool can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove everything that make created
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "SwiftPie needs Python 3.11 or newer, $(PYTHON) is not. Try: make PYTHON=python3.12"; \
	  exit 1; }
	@echo "creating .venv"
	@$(PYTHON) -m venv .venv

.venv/.runtime: pyproject.toml | .venv/bin/python
	@echo "installing PyTorch and SwiftPie into .venv, about a minute (only the first time)"
	@$(PIP) install -e .
	@touch $@

.venv/.dev: pyproject.toml | .venv/bin/python
	@echo "installing PyTorch, SwiftPie and its test tools, about a minute (only the first time)"
	@$(PIP) install -e ".[dev]"
	@touch .venv/.runtime $@
