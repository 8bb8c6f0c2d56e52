# One command per need. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# torchvision wants another torch than the rest is tested with.
OPEN_CLIP := .venv-open-clip
# Other projects' libraries, to measure against.
BENCH := .venv-bench

.DEFAULT_GOAL := help
# More words for pytest, as in `make test PYTEST="-k forget"`.
PYTEST ?=
MINUTES ?= 30
SEED ?= $(shell date +%s)
.PHONY: help setup demo airflow airflow-down test test-live test-images test-open-clip test-all chaos lint format bench bench-small constraints clean

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  A test that lacks a program says which, and is skipped. On Debian, for all of them:"
	@echo "  apt-get install chromium docker-compose postgresql shellcheck"

setup: $(INSTALLED) ## the environment, in .venv; nothing to do when nothing changed

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "clipflow needs Python 3.11 or newer: make setup PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing clipflow and all it needs into $(VENV): a few minutes the first time."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' 2>&1 | grep -v "^WARNING: Location" || true
	@$(BIN)/python -c 'import clipflow, torch, airflow' 2>&1
	@touch $@

demo: setup ## the main job on a drawn catalogue, by Airflow and Ray
	@$(BIN)/python -m clipflow_airflow.demo

airflow: setup ## the real Airflow with its database and Ray, on loopback, until Ctrl-C
	@$(BIN)/python -m clipflow_airflow.stack up

airflow-down: setup ## end an Airflow that runs elsewhere, or was killed
	@$(BIN)/python -m clipflow_airflow.stack down

test: setup ## every law and every part, without a real Airflow; minutes, two cores. Uses docker-compose and shellcheck where they are
	@$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder --ignore=tests/live --ignore=tests/images $(PYTEST)

test-live: setup ## a real Airflow: its processes killed, backfills, its pages in a browser; needs PostgreSQL, and Chromium for the pages
	@$(BIN)/python -m pytest tests/live $(PYTEST)

test-images: setup ## what the wheel brings into the two images; needs a network, or a registry
	@$(BIN)/python -m pytest tests/images $(PYTEST)

test-open-clip: $(OPEN_CLIP)/.installed ## the loader open-clip, in .venv-open-clip
	@PYTHONPATH=operators $(OPEN_CLIP)/bin/python -m pytest tests/open_clip $(PYTEST)

test-all: test test-live test-images test-open-clip ## all of these, one after the other

chaos: setup ## new random histories and seeded kills for MINUTES=30, from SEED=; prints how to replay what it finds
	@$(BIN)/python -m tests.chaos --minutes $(MINUTES) --seed $(SEED)

$(OPEN_CLIP)/.installed: pyproject.toml constraints-open-clip.txt
	@test -x $(OPEN_CLIP)/bin/python || $(PYTHON) -m venv $(OPEN_CLIP)
	@$(OPEN_CLIP)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-open-clip.txt -e '.[engine,open-clip,openvino]' hypothesis psutil pytest pytest-timeout pytest-xdist scikit-image scikit-learn 2>&1 | grep -v "^WARNING: Location" || true
	@$(OPEN_CLIP)/bin/python -c 'import clipflow, open_clip' 2>&1
	@touch $@

lint: setup ## ruff and mypy, tests and benchmarks included
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup ## put the code into its one layout
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(BENCH)/.installed $(OPEN_CLIP)/.installed ## speed beside hand-written loops, Ray Data, Daft and others: hours; DOCS=docs keeps the figures
	@mkdir -p bench-data
	@$(BENCH)/bin/python -m benchmarks.embed --raw bench-data/runs.jsonl
	@$(BENCH)/bin/python -m benchmarks.embed --raw bench-data/runs.jsonl --delay 50 --size 640x480 --images 400 --slow-images 200 --rounds 1
	@$(BENCH)/bin/python -m benchmarks.figures bench-data/runs.jsonl $(if $(DOCS),--docs $(DOCS))

bench-small: setup ## is clipflow still faster than a hand-written loop: minutes
	@$(BIN)/python -m benchmarks.guard

# Daft without what it asks for: it names older releases of what it uses, and works with ours.
$(BENCH)/.installed: pyproject.toml constraints.txt constraints-bench.txt
	@test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	@$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -c constraints-bench.txt -e '.[engine]' aiohttp matplotlib nncf openvino psutil scikit-image scikit-learn sentence-transformers 2>&1 | grep -v "^WARNING: Location" || true
	@$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-bench.txt --no-deps daft daft-lance 2>&1 | grep -v "^WARNING: Location" || true
	@$(BENCH)/bin/python -c 'import clipflow, daft, matplotlib, sentence_transformers' 2>&1
	@touch $@

constraints: ## pin the whole tree again; needs uv
	@echo "torch==2.13.0" > $(VENV)/torch.txt
	@uv pip compile --quiet --universal --python-version 3.11 -c $(VENV)/torch.txt --no-header --no-annotate --extra dev pyproject.toml -o constraints.txt

clean: ## what the other targets made
	@rm -rf $(VENV) $(OPEN_CLIP) $(BENCH) bench-data demo-data airflow-home .hypothesis .pytest_cache .mypy_cache .ruff_cache
