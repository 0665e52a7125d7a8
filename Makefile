# MOON nightly. `make` alone lists the targets; every target does the set-up it needs.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.PHONY: help setup setup-train nightly test test-jobs test-airflow test-long test-all test-faults test-soak lint format docs bench moon-tiny lock pack wheel clean distclean

# Any Python 3 can run the set-up, which then looks for 3.11 itself. PYTHON=/path/to/python3.11 names one.
PYTHON3 = $(shell for p in python3.11 python3.12 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1 && { command -v "$$p"; break; }; done)
SETUP = $(or $(PYTHON3),$(error no Python 3 found: install Python 3.11)) scripts/setup_env.py \
	$(if $(PYTHON),--python $(PYTHON)) $(if $(filter 1,$(MOON_GPU)),--gpu)
PYTEST = .venv/bin/python -m pytest
# Two processes share the files of tests; each has a Spark session and servers of its own.
# They take the files in the order of tests/conftest.py, longest first; xdist's own order puts long files at the end.
PYTEST_IN_TWO = $(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder --durations=25
# The DAG tests have their own Python, so they do not see the conftest.py of the other tests.
PYTEST_AIRFLOW = .venv-airflow/bin/python -m pytest tests/dags --confcutdir=tests/dags

help: ## list the targets (the default)
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

setup: ## environments for everything below but training (MOON_GPU=1: ONNX Runtime for CUDA; PYTHON=…: that Python)
	@$(SETUP) dev airflow java

setup-train: ## .venv-train, for `moon train` with petastorm, LoRA and TensorBoard
	@$(SETUP) train

nightly: ## two dates of a demo shop through the Airflow DAG, then three searches
	@$(SETUP) jobs airflow java
	@.venv/bin/python scripts/nightly.py

test: test-jobs test-airflow ## unit, property and one whole nightly run

test-jobs:
	@$(SETUP) dev java
	$(PYTEST_IN_TWO) -m "not long and not faults and not train"

test-airflow:
	@$(SETUP) jobs airflow java
	$(PYTEST_AIRFLOW) -m "not long"

test-long: ## only what test-all adds to test
	@$(SETUP) dev airflow java
	$(PYTEST_IN_TWO) -m "long and not faults and not train"
	$(PYTEST_AIRFLOW) -m long

test-all: test test-long ## the long sets too

test-faults: ## every fault in one JVM, by SIGKILL and on bad networks; hours, resumes; results in var/faults/
	@$(SETUP) dev java
	$(PYTEST_IN_TWO) -m faults
	.venv/bin/python -m tests.faults

test-soak: ## 30 nights with churn, faults and a rollout against a fresh build; results in benchmarks/results/
	@$(SETUP) dev java
	.venv/bin/python -m tests.faults.soak

lint: ## ruff, the import rules and mypy
	@$(SETUP) dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports
	.venv/bin/mypy

format: ## let ruff format and correct what it can
	@$(SETUP) dev
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

docs: ## the site of the documents, into var/site/index.html
	@$(SETUP) dev
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict --quiet
	@echo "Open var/site/index.html"

bench: ## measure the encode stage against bare loops; results in benchmarks/results/
	@$(SETUP) dev java
	.venv/bin/python -m benchmarks

moon-tiny: ## train checkpoints/moon-tiny from public weights, hours on two cores; repeat it until it ends
	@$(SETUP) dev java
	.venv/bin/python scripts/moon_tiny.py

lock: ## compile requirements/*.in into *.lock (UPGRADE=1: newest versions)
	@$(SETUP) dev
	.venv/bin/python scripts/lock.py $(if $(filter 1,$(UPGRADE)),--upgrade)

pack: ## archives of code and checkpoints for a Spark cluster, into var/pack/ (docs/cluster.md)
	@$(SETUP) jobs
	@.venv/bin/python scripts/pack_jobs.py

wheel: ## build the wheel, checkpoints included, into dist/
	@$(SETUP) dev
	rm -rf build dist  # setuptools would pack what an earlier build left behind
	.venv/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	rm -rf build

clean: ## remove caches and the demo shop; your lake and collection in var/ stay
	rm -rf var/demo var/airflow build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis spark-warehouse metastore_db derby.log
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean ## remove the environments as well
	rm -rf .venv .venv-airflow .venv-train .java moon_nightly.egg-info
