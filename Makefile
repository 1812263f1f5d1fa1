# Needs Python 3.11 to 3.13, make and a network for the first `make setup`; `make help` lists the targets.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
UV ?= uv
WORKERS ?= 2# processes that share the tests
ACCELERATOR ?=# cuda13 or tpu; nothing for a CPU

# The first interpreter that fits; say PYTHON=... to choose.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)

CPU_STAMP := $(VENV)/.installed
STAMP := $(CPU_STAMP)$(if $(ACCELERATOR),-$(ACCELERATOR))
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet --require-hashes

.PHONY: help setup test test-fast lint types all-tests fast-tests demo peers lock clean

help:
	@echo "make setup   create $(VENV) and install the pinned packages (ACCELERATOR=cuda13 or tpu adds jax for it)"
	@echo "make test    lint, types and all tests; LONGREACH_DATA=FOLDER adds those on real text"
	@echo "make test-fast  lint, types and the tests that start no process and train little, for everyday work"
	@echo "make demo    train three architectures on recall, then accuracy against distance: table and figure"
	@echo "make peers   create .venv-peers with PyTorch and JoeyNMT, for python -m benchmarks --peers"
	@echo "make lock    pin anew from pyproject.toml (needs uv)"
	@echo "make clean   remove $(VENV), .venv-peers and caches; runs/ stays"

setup: $(STAMP)

# What is installed is newer than what was pinned, or is installed now.
$(CPU_STAMP): requirements.lock
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11, 3.12 or 3.13 found; install one, or make PYTHON=PATH" >&2; exit 2; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "error: $(PYTHON) cannot make a virtual environment; on Debian and Ubuntu install python3-venv" >&2; exit 2; }
	@echo "installing the packages of requirements.lock into $(VENV); the first time takes a few minutes"
	@$(PIP) -r requirements.lock
	@touch $@

$(CPU_STAMP)-%: requirements-%.lock $(CPU_STAMP)
	@echo "installing the packages of $< into $(VENV)"
	@$(PIP) -r requirements.lock -r $<
	@touch $@

# One after another, or with `make -j2 test` side by side: types take one core.
test: lint types all-tests

test-fast: lint types fast-tests

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

PYTEST := $(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=worksteal

all-tests: setup
	$(PYTEST) --durations=10

fast-tests: setup
	$(PYTEST) -m "not processes and not slow"

demo: setup
	@$(BIN)/python -m experiments.demo

# JoeyNMT 2.3.0 names old versions of what it needs and runs with newer ones, so it is installed without them.
peers: .venv-peers/.installed

.venv-peers/.installed: requirements-peers.txt
	@test -x .venv-peers/bin/pip || $(PYTHON) -m venv .venv-peers
	@echo "installing the packages of requirements-peers.txt into .venv-peers"
	@.venv-peers/bin/python -m pip --disable-pip-version-check --no-input install --quiet -r requirements-peers.txt
	@.venv-peers/bin/python -m pip --disable-pip-version-check --no-input install --quiet --no-deps joeynmt==2.3.0
	@touch $@

# Versions and hashes, for every platform and Python; never where a file was downloaded from.
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-header

lock:
	$(COMPILE) pyproject.toml --extra dev -o requirements.lock
	echo "jax[cuda13]" | $(COMPILE) - -o requirements-cuda13.lock -c requirements.lock
	echo "jax[tpu]" | $(COMPILE) - -o requirements-tpu.lock -c requirements.lock

clean:
	rm -rf $(VENV) .venv-peers .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
