# make run      train on MovieLens-100K and compare with popularity
# make test     the tests;  make slow: those left out of it
# make check    format, lint, types, layers
# make clean    remove what was made here, except runs/
# Another interpreter: make PYTHON=python3.13 test

PYTHON ?= python3
VENV ?= .venv

BIN := $(VENV)/bin
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)
INSTALLED := $(VENV)/.installed-$(VERSION)
INSTALLED_DEV := $(VENV)/.installed-dev-$(VERSION)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: run test slow check clean
.DELETE_ON_ERROR:

run: $(INSTALLED)
	$(BIN)/fedjax-rec run ml-100k/popularity
	$(BIN)/fedjax-rec run ml-100k/fedmf
	$(BIN)/fedjax-rec compare runs/ml-100k/popularity runs/ml-100k/fedmf

test: $(INSTALLED_DEV)
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations 15

slow: $(INSTALLED_DEV)
	OPTIMISED_TESTS=1 $(BIN)/python -m pytest -n 2 -m slow

check: $(INSTALLED_DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find fedjax_rec tests -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment of another interpreter is made anew; one of the same is kept.
define make_environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "fedjax-rec needs Python 3.11 or newer; $(PYTHON) is $(or $(VERSION),not found): make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@[ "$$($(BIN)/python -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)" = "$(VERSION)" ] || \
	  $(PYTHON) -m venv --clear $(VENV)
	@echo "installing into $(VENV) (Python $(VERSION)); the first time takes about a minute"
endef

$(INSTALLED): pyproject.toml
	$(make_environment)
	@$(PIP) install --editable .
	@touch $@

$(INSTALLED_DEV): pyproject.toml
	$(make_environment)
	@$(PIP) install --editable '.[dev]'
	@touch $(INSTALLED) $@
