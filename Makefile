# Everything sets up what it needs. `make` alone tells what there is.
.DEFAULT_GOAL := help
.PHONY: help setup run test check bench docs lock clean

# A Python that really runs, of a version that sayonce is tested on.
PYTHON := $(shell for p in python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' >/dev/null 2>&1 && echo $$p && break; done)
NEEDS_PYTHON = test -n "$(PYTHON)" || { echo "sayonce needs Python 3.11 or 3.12 on the PATH." >&2; exit 1; }
# uv as it is installed, or else one in a folder of the project's own.
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-annotate --no-header
BIN := .venv/bin
# Twice the cores: half of the tests wait for something at any time.
WORKERS ?= $(shell expr 2 \* $$(getconf _NPROCESSORS_ONLN))

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: .venv/.ready  ## .venv with the locked dependencies, and .venv/bin/sayonce

run: .venv/.ready  ## the gateway, on http://127.0.0.1:8700
	@$(BIN)/sayonce serve

test: .venv/.ready  ## every test
	@$(BIN)/pytest -n $(WORKERS) --dist worksteal -q

check: .venv/.ready  ## style, types, and which way imports run
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: .venv/.ready .venv/.peers  ## the figures of bench/RESULTS.md, measured here
	@$(BIN)/python -m bench

docs: .venv/.ready  ## the pages of docs/ that are made from code
	@$(BIN)/python -m docs.reference

lock: | $(UV)  ## requirements.lock anew, from pyproject.toml, and those of the image, which are parts of it
	$(COMPILE) --all-extras --group dev pyproject.toml -o requirements.lock
	$(COMPILE) --all-extras --constraints requirements.lock pyproject.toml -o deploy/requirements.lock
	echo hatchling | $(COMPILE) --constraints requirements.lock - -o deploy/build.lock
	$(COMPILE) bench/requirements.in -o bench/requirements.lock

clean:  ## removes what setup and the tools made
	rm -rf .venv .uv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

.venv/.ready: requirements.lock pyproject.toml | $(UV)
	@$(NEEDS_PYTHON)
	@echo "Setting up .venv (once)"
	@$(UV) venv --quiet --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv
	@$(UV) pip sync --quiet --require-hashes --compile-bytecode --python $(BIN)/python requirements.lock
	@$(UV) pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@touch $@

.venv/.peers: bench/requirements.lock | .venv/.ready
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python .venv/peers
	@$(UV) pip sync --quiet --require-hashes --python .venv/peers/bin/python bench/requirements.lock
	@touch $@

.uv/bin/uv:
	@$(NEEDS_PYTHON)
	@echo "Installing uv into .uv"
	@$(PYTHON) -m venv .uv
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check uv
