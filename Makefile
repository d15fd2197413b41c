# `make demo` and `make test` need nothing but Python >= 3.11 with pip and venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: demo setup test check slow docs bench zoo zoo-timm zoo-transformers clean

demo: $(VENV)/.installed-demo
	$(BIN)/netmorph quickstart

setup: $(VENV)/.installed-dev

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --cov --cov-branch --cov-report=term --cov-fail-under=95

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

slow: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) -m slow

# The pages, warnings as errors, in docs/_build/html; needs no network but for pip. It runs the examples, each once.
docs: $(VENV)/.installed-docs
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# About an hour on a small machine, best an idle one; BENCH='solving graphs' runs some. Writes results/benchmarks and docs.
BENCH ?= solving networks memory running pairs collapsed graphs training startup conditioning
bench: $(VENV)/.installed-dev
	for each in $(BENCH); do OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.$$each || exit 1; done
	$(BIN)/python -m benchmarks.page

# Hours on a small machine; each resumes where it stopped. ZOO='--limit 5', '--only resnet*', '--seconds 10', '--workers 8'.
zoo: $(VENV)/.installed-zoo
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.zoo torchvision $(ZOO)

zoo-timm: $(VENV)/.installed-zoo
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.zoo timm $(ZOO)

zoo-transformers: $(VENV)/.installed-zoo
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.zoo transformers $(ZOO)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "netmorph needs Python 3.11 or newer; set PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --disable-pip-version-check -e '.[train,cli,report]'
	@touch $@

# A development install holds the demo's too, so it marks both as done.
$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --disable-pip-version-check -e '.[train,parquet,cli,report,dev]'
	@touch $@ $(VENV)/.installed-demo

$(VENV)/.installed-docs: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --disable-pip-version-check -e '.[train,cli,report,docs]'
	@touch $@ $(VENV)/.installed-demo

$(VENV)/.installed-zoo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --disable-pip-version-check -e '.[zoo]'
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* docs/_build docs/gallery
