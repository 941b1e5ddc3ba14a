# Argonaut. `make help` lists the targets; the two that matter are `make run` and `make test`.
SHELL := /bin/bash
PY := .venv/bin/python
LOCK := uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-annotate --no-header

# Every start of a node compiles three seconds' worth of imports anew where bytecode may not be written.
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.PHONY: help setup run test soak lint format bench backtest results lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: ## create .venv from the locked requirements (nothing to do: 0.1 s); PYTHON=... names the interpreter
	@bash scripts/setup.sh

run: setup ## the main job: data, model, backtest, live node on the embedded venue, summary
	@$(PY) -m node.demo

test: setup ## all tests (soaks excluded)
	@$(PY) -m pytest -n 2 --dist worksteal

soak: setup ## the long tests
	@$(PY) -m pytest -m soak

lint: setup ## ruff (rules and format) and mypy --strict
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

format: setup ## let ruff format the code and mend what it can
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

bench: setup ## every benchmark, figures on stdout
	@set -e; for file in benchmarks/bench_*.py; do echo "== $$file"; $(PY) "$$file"; done

backtest: setup ## run config/backtest.yaml over the catalog (make run fills it)
	@$(PY) -m node.backtest --config config/backtest.yaml

results: setup ## the figures of docs/results.md again, on real data (see README, Data); about five minutes
	@$(PY) -m catalog.sample --catalog var/results/catalog --start 2023-01-01 --end 2025-10-01
	@set -e; for study in ancestor_months walkforward; do \
	    $(PY) -m research.walkforward --config config/$$study.yaml --catalog var/results/catalog --out var/results; done

lock: ## renew both lock files after a change to pyproject.toml (needs uv on PATH; UPGRADE=1 takes newer versions)
	@command -v uv >/dev/null || { echo "make lock needs uv on PATH: python -m pip install uv" >&2; exit 1; }
	@$(LOCK) $(if $(UPGRADE),--upgrade) pyproject.toml --group dev -o requirements/dev.lock
	@$(LOCK) -c requirements/dev.lock pyproject.toml -o requirements/runtime.lock
	@git diff --stat -- requirements

clean: ## remove what was made: environment, catalog, models, journals
	rm -rf .venv var
