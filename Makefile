# Two commands: `make demo` and `make test`. Both set up .venv first, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NATIVE := OMP_NUM_THREADS=1

.PHONY: demo test setup docs clean
demo: $(READY)
	$(BIN)/nntune search studies/penguins.csv --target species --trials 64

test: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/cog --check README.md
	$(NATIVE) $(BIN)/python -m pytest

setup: $(READY)

docs: $(READY)
	$(BIN)/cog -r README.md

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nntune needs Python 3.11 or newer; give one as: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable . cogapp hypothesis mypy pyarrow pytest ruff optuna-dashboard
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
