# Two commands: `make demo` and `make test`. Both set up .venv first, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NATIVE := OMP_NUM_THREADS=1
COG := $(BIN)/cog -I docs --verbosity=1
PAGES := README.md docs/commands.md

.PHONY: demo test setup docs clean fuzz chaos
demo: $(READY)
	$(BIN)/nntune search studies/penguins.csv --target species --trials 64

test: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(COG) --check --check-fail-msg="run make docs" $(PAGES)
	$(NATIVE) $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

# Nightly: 100,000 other inputs of each kind; faults over real searches (Linux, best as root).
fuzz: $(READY)
	NNTUNE_FUZZ=100000 $(NATIVE) $(BIN)/python -m pytest tests/test_fuzz.py

chaos: $(READY)
	$(NATIVE) $(BIN)/python -m benchmarks.chaos --faults 300

setup: $(READY)

# Writes the help texts, the tables and the output of the worked example into the pages.
docs: $(READY)
	$(COG) -r -D run=example $(PAGES)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nntune needs Python 3.11 or newer; give one as: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache
