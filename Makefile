# Doorwatch: `make demo` and `make test` set up what they need in .venv and run.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
BOUND  := $(VENV)/.libvirt

.PHONY: demo test lint format bench docs libvirt lock clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    the main job on this machine, live, in under a minute"
	@echo "make test    every tier of tests this machine can run, and a table of them"
	@echo "make lint    formatting, linting and strict types"
	@echo "make bench   the figures, each beside its peer in the same run"
	@echo "make docs    the references and pictures that are made from the code"
	@echo "make libvirt the binding to libvirt, from source: needs libvirt-dev, pkg-config, python3-dev and a compiler"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Doorwatch needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Set PYTHON=...") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV) || { echo "cannot make a virtual environment: on Debian and Ubuntu, apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

$(BOUND): $(READY) tests/lab/libvirt.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r tests/lab/libvirt.txt
	@touch $(BOUND)

demo: $(READY)
	$(BIN)/doorwatch demo

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python -m tests.bench

docs: $(READY)
	$(BIN)/python -m docs.make

libvirt: $(BOUND)

lock:
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url -o constraints.txt

clean:
	rm -rf $(VENV) build dist .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
