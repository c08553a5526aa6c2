# make demo and make test do all their own set-up; they need only Python 3.11 or newer with venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint types layers sql bench serve deploy audit clean

help:  ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch
	$(BIN)/python -m pip install --quiet --editable '.[pipeline,cpu,dev]'
	@touch $@

setup: $(VENV)/.installed  ## Create .venv with the locked versions.

demo: setup  ## From the docstrings of the installed packages to a verified manifest and a report.
	$(BIN)/databourse demo

test: setup  ## Run the tests.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --dist=loadfile

check: lint types layers sql test  ## Run every check: lint, format, types, layers, SQL, tests.

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

layers: setup
	$(BIN)/lint-imports

sql: setup
	$(BIN)/sqlfluff lint --disable-progress-bar sql

bench: setup  ## Measure again, and rewrite docs/benchmarks.md.
	$(BIN)/python -m benchmarks.market.compare_clearing
	$(BIN)/python -m benchmarks.market.compare_clearing --documents 10000000 --rounds 3
	$(BIN)/python -m benchmarks.market.time_price
	$(BIN)/python -m benchmarks.density.compare_kernel_sums
	$(BIN)/python -m benchmarks.coverage.compare_facility_location --documents 2000
	$(BIN)/python -m benchmarks.coverage.compare_facility_location --documents 10000
	$(BIN)/python -m benchmarks.importance.compare_dsir --targets 200 --rounds 3
	$(BIN)/python -m benchmarks.dedup.compare_dedup --documents 20000 --rounds 3
	$(BIN)/python -m benchmarks.dedup.compare_dedup --documents 1000000
	$(BIN)/python -m benchmarks.decontamination.planted_leaks
	$(BIN)/python -m benchmarks.ingestion.compare_readers --documents 100000
	$(BIN)/python -m benchmarks.influence.compare_gradients --documents 400 --threads 1,2
	$(BIN)/python -m benchmarks.language_models.compare_scoring
	$(BIN)/python -m benchmarks.language_models.planted_garbage
	$(BIN)/python -m benchmarks.write_tables

serve: setup  ## Start a Prefect server and UI on http://127.0.0.1:4200; CONFIG=... adds schedules and a worker.
	$(BIN)/python infra/serve.py $(CONFIG)

deploy: setup  ## Deploy the pool of CONFIG=... to the Prefect server of PREFECT_API_URL.
	$(BIN)/python infra/deploy.py $(CONFIG)

audit:  ## Ask a public database for known weaknesses of the locked versions; needs the network.
	$(PYTHON) -m venv $(VENV)-audit
	PIP_CONSTRAINT= $(VENV)-audit/bin/python -m pip install --quiet pip-audit==2.10.1
	$(VENV)-audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip

clean:  ## Remove .venv and caches.
	rm -rf $(VENV) $(VENV)-audit .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
