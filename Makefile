# Four commands: make demo, make test, make check, make bench. Each needs nothing done before it
# but Python 3.11 or newer with venv, and a package registry.

PYTHON ?= python3
BIN := .venv/bin
FEED := demo-out
TEST_WORKERS ?= 2
# Collecting all of the suite for a handful of tests takes as long as they do. Whoever asks for some
# tests of their own has those alone.
ALONE = $(if $(PYTEST_ARGS),,$$(grep -rl --include='test_*.py' 'mark.alone' tests))

# Hundreds of processes of the suite import the same modules: they are compiled once.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-long check bench format clean

demo: .venv/demo.ready
	$(BIN)/padflow models pull
	$(BIN)/padflow demo --out $(FEED)

test: .venv/dev.ready
	$(BIN)/padflow models pull
	$(BIN)/pytest --numprocesses $(TEST_WORKERS) --dist worksteal -m "not alone and not long" $(PYTEST_ARGS)
	$(BIN)/pytest -m "alone and not long" $(PYTEST_ARGS) $(ALONE) || test $$? -eq 5  # 5: none of these chosen

test-long: .venv/dev.ready
	$(BIN)/padflow models pull
	$(BIN)/pytest -m long $(PYTEST_ARGS)

check: .venv/dev.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/dev.ready
	$(BIN)/padflow models pull
	$(BIN)/padflow bench all

format: .venv/dev.ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv build dist $(FEED)

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/demo.ready: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	touch $@

.venv/dev.ready: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ .venv/demo.ready
