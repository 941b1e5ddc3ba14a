# Argonaut. `make help` lists the targets; the two that matter are `make run` and `make test`.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.13 || command -v python3.12 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help setup run test lint format bench backtest soak clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## create .venv and install the locked dependencies

$(STAMP): requirements/dev.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@touch $(STAMP)

run: setup ## the main job: data, model, backtest, live node on the embedded venue, summary
	@$(BIN)/python -m node.demo

backtest: setup ## run config/backtest.yaml over the catalog
	@$(BIN)/python -m node.backtest --config config/backtest.yaml

test: setup ## all tests (long soaks excluded)
	@$(BIN)/python -m pytest -n 2

soak: setup ## the long tests
	@$(BIN)/python -m pytest -m soak

lint: setup ## ruff and mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup ## let ruff format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup ## every benchmark, figures on stdout
	@for f in benchmarks/bench_*.py; do $(BIN)/python $$f; done

clean: ## remove what was made (environment, catalog, journals)
	rm -rf .venv var
