# Everything runs in .venv, made by the first target that needs it and pinned by constraints.txt.

PYTHON ?= python3
BIN := .venv/bin
PART ?= 1/1

.PHONY: help setup demo test test-slow test-cluster bench check format clean
.DEFAULT_GOAL := help

help: ## Say what each target does
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: .venv/.ready ## Make .venv with everything in it (about 7 GB, some minutes; once)

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is too old: Python 3.11 or later is needed; set PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
		|| { echo "$(PYTHON) cannot make virtual environments: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: .venv/.ready ## Run the whole pipeline on generated clips, in outputs/demo
	@$(BIN)/stpa init outputs/demo --preset demo --replace
	@$(BIN)/stpa retrain --workspace outputs/demo

test: .venv/.ready ## Run the tests, but for the slow ones, in up to four processes (of up to 4 GB)
	$(BIN)/python -m pytest -m "not slow" --numprocesses auto --maxprocesses 4

test-cluster: .venv/.ready ## Run the slow tests that kill workers, nodes and searches of a Ray cluster
	$(BIN)/python -m pytest -m cluster

test-slow: .venv/.ready ## Run the other slow tests; PART=2/8 is the second of eight parts
	$(BIN)/python -m pytest -m "slow and not cluster" --part $(PART)

bench: .venv/.ready ## Run all benchmarks but dataset_scale (hours on two cores)
	$(BIN)/python -m benchmarks.decode
	$(BIN)/python -m benchmarks.transcode
	$(BIN)/python -m benchmarks.loader
	$(BIN)/python -m benchmarks.k_sweep --grid nested
	$(BIN)/python -m benchmarks.k_sweep --grid exact
	$(BIN)/python -m benchmarks.long_video
	$(BIN)/python -m benchmarks.attention_overhead
	$(BIN)/python -m benchmarks.tvl1
	$(BIN)/python -m benchmarks.train_throughput
	$(BIN)/python -m benchmarks.features
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.overhead
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks.predict

check: .venv/.ready ## Formatting, lint, types, import layers and dependencies
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/deptry .

format: .venv/.ready ## Format, and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove the demo's workspace and the tools' caches; your own data and models stay
	rm -rf outputs/demo .pytest_cache .ruff_cache .hypothesis .import_linter_cache
