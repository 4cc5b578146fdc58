# make demo: set-up, then the whole pipeline on the embedded scenes.   make test: set-up, then every test.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
SNAKEMAKE := $(BIN)/snakemake
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test slurm test-slurm check bench coverage format clean
demo: $(STAMP)
	$(SNAKEMAKE) --cores all
	@echo "Open results/report/index.html"

test: $(STAMP)
	$(BIN)/pytest -n 2 --dist loadfile

# In namespaces of its own: whatever else runs on the machine is not touched.
test-slurm: $(STAMP) slurm
	CLEAVE_SLURM=required $(BIN)/pytest -rP tests/workflow/test_slurm.py

slurm:
	@type munged slurmctld slurmd squeue > /dev/null 2>&1 || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			munge slurmctld slurmd slurm-client; } || \
		{ echo "SLURM is not installed (Debian, as root: apt install munge slurmctld slurmd slurm-client)"; exit 1; }

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/pytest -q tests/unit/test_layers.py

bench: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench

coverage: $(STAMP)
	$(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=term

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

# Renewed when a dependency or a kernel changes. Kernels and pydensecrf are compiled on the spot.
$(STAMP): pyproject.toml constraints.txt setup.py $(wildcard src/native/*)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
		{ echo "cleave needs Python 3.11 or 3.12; name one: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@command -v c++ > /dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && \
		apt-get update -qq && apt-get install -y -qq g++; } || \
		{ echo "The dense CRF is compiled: install a C++ compiler (Debian: apt install g++)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[crf,dev,formats,slurm,tensorboard]'
	touch $@

clean:
	rm -rf .venv .snakemake .pytest_cache .ruff_cache
