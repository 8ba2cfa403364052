# The only command vocabulary, the same locally and in CI. `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DATA ?= var
PORT ?= 8000

.PHONY: help setup demo serve test lint types imports unit soak bench clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

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

KILLS ?= 50
SEED ?= 0
BLOCK ?= 6
MINUTES ?= 10

soak: setup ## kill -9 at random and minutes of mixed load on a real service: KILLS, SEED, BLOCK, MINUTES
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/kills.py --kills $(KILLS) --seed $(SEED) --block $(BLOCK)
	OMP_NUM_THREADS=1 LEVELSET_SOAK_MINUTES=$(MINUTES) $(BIN)/pytest -q -m soak --timeout 0

docs: setup ## the documentation as a site, in site/; needs no network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The table of benchmarks/README.md is made of the JSON files that the benchmarks leave.
bench: setup ## the benchmarks that need minutes and no data, and the table of benchmarks/README.md
	$(BIN)/python -m benchmarks.flow
	$(BIN)/python -m benchmarks.latency
	$(BIN)/python -m benchmarks.figures speed
	$(BIN)/python -m benchmarks.readme

bench-full: bench ## all benchmarks: hours; those that need images and weights say so and are passed over
	$(BIN)/python -m benchmarks.execution --threads 1
	$(BIN)/python -m benchmarks.generation resnet20
	$(BIN)/python -m benchmarks.zoo
	$(BIN)/python -m benchmarks.stolen_base
	$(BIN)/python -m benchmarks.stopping
	$(BIN)/python -m benchmarks.ladder --write
	$(BIN)/python -m benchmarks.transfer_matrix --write
	$(BIN)/python -m benchmarks.figures ensembles
	$(BIN)/python -m benchmarks.readme

wheel: setup ## the wheel and the source archive, in dist/
	$(BIN)/python -m build

sbom: setup ## what is installed, as CycloneDX, in sbom.json
	$(BIN)/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-file sbom.json

audit: setup ## known vulnerabilities of what is installed; asks PyPI
	$(BIN)/pip-audit --skip-editable

clean: ## remove the virtual environment, caches and the data folder of the demo
	rm -rf $(VENV) $(DATA) site dist sbom.json .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
