# Everything a person or CI runs. Each target sets up what it needs; none needs root.
#
#   make demo [SECONDS=10]   the whole thing on an embedded Redis
#   make test [ARGS=...]     the tests; what needs a service that is not installed is skipped, with the reason
#   make bench [ARGS=...]    the benchmarks: results in bench/results
#   make lint                ruff, mypy, cython-lint
#   make wheel               source distribution and wheel in dist/
#   make check-debug         the tests on a build with Cython's bounds and initialisation checks on
#   make check-sanitize      the tests on a build with address and undefined-behaviour sanitizers
#   make clean

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SECONDS ?=
ARGS ?=
NATIVE := $(wildcard src/fastwin/*.pyx src/fastwin/*.pxd) setup.py pyproject.toml
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test bench lint wheel check-debug check-sanitize clean

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("fastwin needs Python 3.11 or newer; PYTHON=... chooses another" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade "pip>=25.1"

# The package, built in place: Python sources are used as they are, the extensions are built again when they changed.
$(VENV)/.installed: $(BIN)/python $(NATIVE)
	$(BIN)/python -m pip install -q --editable ".[demo]"
	touch $@

$(VENV)/.test: $(VENV)/.installed
	$(BIN)/python -m pip install -q --group test
	touch $@

$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/python -m pip install -q --group bench
	touch $@

$(VENV)/.lint: $(VENV)/.installed
	$(BIN)/python -m pip install -q --group lint
	touch $@

demo: $(VENV)/.installed
	$(BIN)/fastwin demo $(if $(SECONDS),--seconds $(SECONDS))

test: $(VENV)/.test
	$(BIN)/python -m pytest $(ARGS)

bench: $(VENV)/.bench
	$(BIN)/python -m bench $(ARGS)

lint: $(VENV)/.lint
	ci/lint $(BIN)

wheel: $(BIN)/python
	$(BIN)/python -m pip install -q build
	rm -rf dist
	$(BIN)/python -m build

check-debug:
	ci/checked debug $(PYTHON) $(ARGS)

check-sanitize:
	ci/checked sanitize $(PYTHON) $(ARGS)

clean:
	rm -rf $(VENV) .venv-* build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f src/fastwin/*.so src/fastwin/*.c src/fastwin/*.html
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
