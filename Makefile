# Thin: every target is one readable line. Needs Python 3.11+ and nothing else; the rest is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
export OMP_WAIT_POLICY ?= passive

.PHONY: help run test lint bench train setup setup-dev setup-train clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

run: setup ## start the paper trader on the embedded exchange: http://127.0.0.1:8000
	@$(BIN)/python -m qt_actors.cli.procfile

setup: .venv/.run ## install what trading needs

setup-dev: .venv/.dev ## and what tests and linters need

setup-train: .venv/.train ## and what training needs (torch)

test: setup-dev lint ## lint, types, import contracts, then every test
	@$(BIN)/pytest -n 2 --dist loadscope -q

lint: setup-dev ## ruff, mypy --strict, import contracts
	@$(BIN)/ruff check -q . && $(BIN)/ruff format -q --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-logo

bench: setup-dev ## print measurements (nothing is asserted about time)
	@for b in tests/bench/bench_*.py; do $(BIN)/python $$b; done

train: ## train the four models: make train DATA=folder/of/candles
	@$(if $(DATA),$(MAKE) -s setup-train,$(error say which folder of candles: make train DATA=FOLDER))
	@$(BIN)/qt train --data $(DATA) --out models/artifacts

clean: ## remove what setup made; the journal in var/ stays
	@rm -rf .venv build *.egg-info

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	@$(PYTHON) -m venv .venv

.venv/.run: .venv/bin/python pyproject.toml constraints.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e . && touch $@

.venv/.dev: .venv/.run
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]' && touch $@

.venv/.train: .venv/.run
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[train]' && touch $@
