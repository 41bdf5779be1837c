# SwiftPie needs git, make and Python 3.11 or newer; all else is installed into .venv.
PYTHON ?= python3
JOBS ?= 2
TORCH ?=
TORCH_NEEDED := $(shell sed -n 's|^  "\(torch>=[0-9.]*\)",|\1|p' pyproject.toml)
TORCH_INDEX := https://download.pytorch.org/whl/$(TORCH)
VENV := .venv
CONSTRAINT :=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
INSTALL := $(PIP) install $(if $(CONSTRAINT),--constraint $(CONSTRAINT))
FAST := not slow and not thorough and not gpu and not weights
# Workers and the processes that tests start read the same sources: they are compiled once, even
# where the shell says that Python shall not.
# A test that takes too long ends its worker, and says where it stood shortly before. No other worker
# takes its place: the last test of a file would wait for a second one for ever.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile \
  --max-worker-restart=0 -o faulthandler_timeout=100

ifneq ($(filter-out cpu,$(TORCH)),)
$(error TORCH=$(TORCH) is no build of PyTorch that make knows. Choose TORCH=cpu, or leave it out for the one of PyPI)
endif

.PHONY: help demo setup setup-lowest test test-thorough test-lowest test-all test-comfyui golden parity page \
  check-page test-page docs mutation release-check check fix clean

help:  ## list all targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | while IFS="$$(printf '\t')" read -r target about; do \
	  printf '%-15s %s\n' "$$target" "$$about"; done

demo: $(VENV)/.runtime  ## make a picture with the embedded model
	$(BIN)/swiftpie demo --force

setup: $(VENV)/.dev  ## install SwiftPie, the lab and the developer tools

test: $(VENV)/.dev  ## run what runs on any laptop, offline
	$(PYTEST) -m "$(FAST)"

test-thorough: $(VENV)/.dev  ## run what takes some seconds each and `test` leaves out; or PART=0 to 15
	$(PYTEST) -m "thorough and not slow and not gpu and not weights" $(if $(PART),--part $(PART))

# NEWEST=torch leaves PyTorch out, whose lowest version is a download of 3 GB.
setup-lowest:  ## install the lowest versions that pyproject.toml allows into build/lowest
	@mkdir -p build
	@$(PYTHON) -m tests.lowest --newest $(NEWEST) >build/lowest.txt
	@$(MAKE) --no-print-directory VENV=build/lowest CONSTRAINT=build/lowest.txt setup

test-lowest: setup-lowest  ## run `test-thorough` with these versions
	@$(MAKE) --no-print-directory VENV=build/lowest CONSTRAINT=build/lowest.txt test-thorough

test-all: $(VENV)/.dev  ## run every test, also those that need a GPU or large weights
	$(BIN)/python -m pytest -q

test-comfyui: $(VENV)/.dev  ## run the nodes in the copy of ComfyUI that COMFYUI names, by COMFYUI_PYTHON
	@test -n "$(COMFYUI)" || { echo "name a copy of ComfyUI: make test-comfyui COMFYUI=PATH"; exit 2; }
	COMFYUI="$(COMFYUI)" COMFYUI_PYTHON="$(COMFYUI_PYTHON)" $(BIN)/python -m pytest -q -s tests/comfyui

golden: $(VENV)/.dev  ## renew the thumbnails that tests compare pictures with; checks nothing
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.golden.renew

parity: $(VENV)/.dev  ## compare with other implementations and print the differences
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.parity.report

page: check-page  ## build the page of `swiftpie serve` from web/; needs npm, which no other target does
	cd web && npm run build

check-page: web/node_modules/.package-lock.json  ## look for faults in the page's sources and try its stores
	cd web && npm run check && npm test

test-page: $(VENV)/.page  ## drive the page in Chromium, as `apt install chromium` brings it
	@command -v chromium || command -v google-chrome || { echo "no Chromium found"; exit 1; }
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) tests/server/test_page.py

docs: $(VENV)/.docs  ## build the site into build/site/html, without the network; a broken link is an error
	$(BIN)/python docs/site/build.py

mutation: $(VENV)/.mutation  ## change single places of the code, and tell which no test notices
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutation

release-check: $(VENV)/.release  ## do what a release needs checked: versions, wheels, licences; a line each
	$(BIN)/python -m tests.release

check: $(VENV)/.dev  ## look for faults, edit nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

fix: $(VENV)/.dev  ## repair what a tool can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove everything that make created
	rm -rf .venv web/node_modules dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# An installed PyTorch that fits is kept, whichever build it is. Else PyPI's brings CUDA on Linux; say
# so where nothing could use it, before anything is fetched.
HAS_TORCH = PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS= $(PIP) install --dry-run --no-index --no-deps \
  "$(TORCH_NEEDED)" >/dev/null 2>&1
HAS_NVIDIA = test -e /proc/driver/nvidia/version -o -e /dev/dxg || command -v nvidia-smi >/dev/null

define choose-torch
@if [ -z "$(TORCH)" ] && [ "$$(uname -s)" = Linux ] && ! { $(HAS_NVIDIA); } && ! $(HAS_TORCH); then \
	  echo "no NVIDIA driver found; PyTorch as PyPI has it brings CUDA, and all takes 6.1 GB"; \
	  echo "stop this and run 'make $(or $(MAKECMDGOALS),demo) TORCH=cpu' for 1.3 GB without CUDA"; \
	fi
endef

define install-torch
$(if $(TORCH),@$(INSTALL) --no-deps --index-url $(TORCH_INDEX) "$(TORCH_NEEDED)")
endef

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "SwiftPie needs Python 3.11 or newer, $(PYTHON) is not. Try: make PYTHON=python3.12"; \
	  exit 1; }
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml | $(VENV)/bin/python
	$(choose-torch)
	@echo "installing PyTorch and SwiftPie into $(VENV), about a minute (only the first time)"
	$(install-torch)
	@$(INSTALL) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml lab/pyproject.toml | $(VENV)/bin/python
	$(choose-torch)
	@echo "installing PyTorch, SwiftPie, the lab and the test tools, about a minute (only the first time)"
	$(install-torch)
	@$(INSTALL) -e ".[dev]" -e ./lab
	@touch $(VENV)/.runtime $@

$(VENV)/.mutation: $(VENV)/.dev
	@$(PIP) install "cosmic-ray>=8.4,<9"
	@touch $@

$(VENV)/.docs: $(VENV)/.dev
	@$(PIP) install "mkdocstrings[python]>=1.0" "zensical>=0.0.73"
	@touch $@

$(VENV)/.release: $(VENV)/.dev
	@$(PIP) install "build>=1.2" "cyclonedx-bom>=7" "twine>=6.1"
	@touch $@

$(VENV)/.page: $(VENV)/.dev
	@$(PIP) install "axe-playwright-python>=0.1.7" "playwright>=1.50"
	@touch $@

web/node_modules/.package-lock.json: web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	@touch $@
