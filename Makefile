# make demo     half a minute of mail through the bundled relay, and what logscope says of its logs
# make test     run the tests
# make check    everything that must hold before a commit: format, lint, types, grammars, tests
# make bench    speed and memory on a million generated sessions, beside pflogsumm
#
# Each target sets up .venv when it is missing or pyproject.toml has changed. Nothing is written outside this
# directory (apart from pip's own cache); `make clean` removes what was.

PYTHON ?= python3
SESSIONS ?= 1000000
PYTEST_FLAGS ?=

BIN := .venv/bin
INSTALLED := .venv/.installed

# Compiled kernels stay with the checkout.
export LOGSCOPE_CACHE_DIR := $(CURDIR)/.cache

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint grammars check bench readme clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

setup: $(INSTALLED)
	@:

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "logscope needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>/dev/null || echo missing)." >&2; \
	    echo "Name a newer one: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: setup
	@PATH="$(CURDIR)/$(BIN):$$PATH" samples/demo

test: setup
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

lint: setup
	$(BIN)/ruff format --check --output-format concise .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Every sample and near miss of every grammar.
grammars: setup
	$(BIN)/logscope grammar check

check: lint grammars
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

bench: setup
	$(BIN)/python benchmarks/run.py --sessions $(SESSIONS)

# Run the README's commands anew and put in what they print.
readme: setup
	$(BIN)/python tests/readme.py --write

clean:
	rm -rf .venv .cache build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
