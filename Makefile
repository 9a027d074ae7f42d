# Two commands do everything, set-up included: `make search`, `make test`.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: setup search test lint typecheck format clean

setup: $(STAMP)

# Made once, and again only when the pinned versions change.
$(STAMP): constraints.txt setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "irlas_jax needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[test,distributed]'
	@touch $(STAMP)

search: setup
	$(RUN) -m launch.search --config=configs/irlas_digits.py \
	  --workdir=runs/irlas_digits

test: setup lint typecheck
	$(RUN) -m pytest -n auto --dist worksteal

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

typecheck: setup
	$(RUN) -m mypy

format: setup
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache *.egg-info
