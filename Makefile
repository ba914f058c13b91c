.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
ARGS ?=

.PHONY: help setup demo test lint types contracts bench

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with the bursar command (instant when nothing changed)
	@:

$(STAMP): pyproject.toml client/pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing Bursar into .venv (the first time takes a minute) ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input -c constraints.txt -e ./client -e '.[dev,bench]'
	@# An older bursar-server owned the command, and pip removes it with that version after writing the new one.
	@test -x $(BIN)/bursar || $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input \
		--no-deps --force-reinstall -e ./client
	@touch $@
	@echo "Ready: $(BIN)/bursar --help"

demo: setup ## a day of agent work against a real server (ARGS=--exit stops it at the end)
	@$(BIN)/bursar demo $(ARGS)

test: setup ## every test on SQLite and PostgreSQL (ARGS="-k holds" selects; BURSAR_LONG=1 adds the slow ones)
	@$(BIN)/python -m pytest -n 2 --dist worksteal -q $(ARGS)

lint: setup ## ruff: rules and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup ## mypy, strict in the core and the client
	@$(BIN)/mypy --strict -p ledger.core
	@$(BIN)/mypy --strict -p bursar
	@$(BIN)/mypy

contracts: setup ## which room may import which
	@$(BIN)/lint-imports

bench: setup ## measure, as ratios (ARGS=--smoke for a short run)
	@$(BIN)/python -m bench $(ARGS)
