# The only command vocabulary, the same locally and in CI. `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DATA ?= var
PORT ?= 8000

.PHONY: help setup demo serve test lint types imports unit bench clean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.installed ## create the virtual environment and install into it

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "levelset needs Python 3.11 or newer; got: $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e ".[dev]"
	@touch $@

demo: setup ## the main job end to end: build an ensemble, serve it, query it, evaluate it, write the report
	$(BIN)/levelset demo --data $(DATA)

serve: setup ## the same service, left running
	$(BIN)/levelset demo --data $(DATA) --serve --port $(PORT)

test: setup lint types imports unit ## everything that CI runs

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy --strict ensemble attacks service

imports: setup
	$(BIN)/lint-imports

# On contended cores two torch threads are slower than one; tests measure nothing by the clock.
unit: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -q

bench: setup ## the benchmarks that need minutes; results under benchmarks/results
	$(BIN)/python benchmarks/latency.py
	$(BIN)/python benchmarks/stolen_base.py

clean: ## remove the virtual environment, caches and the data folder of the demo
	rm -rf $(VENV) $(DATA) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
