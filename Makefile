# Each target works on a bare clone, on a machine that has Python 3.10 or newer and cargo, and is
# incremental after the first time. All that is installed goes into .venv; what has been done is
# noted by empty files in .venv/stamps, so that removing .venv starts afresh.

VENV   := .venv
BIN    := $(VENV)/bin
STAMPS := $(VENV)/stamps
PIP    := $(BIN)/python -m pip install --quiet

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 10))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python; do \
	"$$p" -c '$(NEW_ENOUGH)' 2>/dev/null && { echo "$$p"; break; }; done)

# Whatever environment the caller has activated, maturin and PyO3 are to use ours.
unexport CONDA_PREFIX
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1

RUST_SOURCES := $(shell find rust -name '*.rs' -o -name Cargo.toml) Cargo.toml $(wildcard Cargo.lock)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test bench curves counts lint format clean FORCE

help:
	@echo 'make demo     what ICFL finds in a real Cell Painting screen: a table, pictures, a model'
	@echo 'make test     all tests, Rust first, pytest last (ARGS="-k whitening" goes to pytest)'
	@echo 'make bench    speed and memory beside PyTorch, scikit-learn and SPAMS (ARGS=--full: all of it)'
	@echo 'make curves   throughput along every size, and what limits it'
	@echo 'make counts   instructions of the Rust kernels, against the record (ARGS=--record makes it anew)'
	@echo 'make lint     everything that is checked without running the tests'
	@echo 'make format   format Rust and Python'
	@echo 'make clean    remove whatever the other targets made, .venv and demo/ included'

demo: $(STAMPS)/extension
	$(BIN)/icfl demo --output demo --force $(ARGS)
	@echo 'The pictures, the table (results.json), the codes and the model are in demo/.'

test: $(STAMPS)/extension $(STAMPS)/test $(STAMPS)/torch
	cargo test --release --package icfl-core
	$(BIN)/python -m pytest $(ARGS)

bench: $(STAMPS)/extension $(STAMPS)/bench $(STAMPS)/torch
	$(BIN)/python benches/table.py $(ARGS)

curves: $(STAMPS)/extension
	$(BIN)/python benches/curves.py $(ARGS)

counts: $(STAMPS)/venv
	$(BIN)/python benches/instructions.py $(ARGS)

lint: $(STAMPS)/extension $(STAMPS)/lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest --concise icfl._core

format: $(STAMPS)/lint
	cargo fmt --all
	$(BIN)/ruff check --fix --quiet || true
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) target demo dist benches/results python/icfl/_core*.so
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find python tests benches -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment of the caller's making is taken as it is, if it has a pip and is new enough.
$(STAMPS)/venv:
	@command -v cargo >/dev/null || { echo 'cargo is needed: see https://rustup.rs' >&2; exit 1; }
	@$(BIN)/python -c 'import pip; $(NEW_ENOUGH)' 2>/dev/null || { \
	  test -n '$(PYTHON)' || { echo 'Python 3.10 or newer is needed (make PYTHON=...)' >&2; exit 1; }; \
	  echo 'Creating $(VENV) with $(PYTHON)'; \
	  $(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); \
	    echo '$(PYTHON) cannot make virtual environments.' >&2; \
	    echo 'On Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }; }
	$(PIP) --upgrade 'pip>=25.1'  # the first that knows --group
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/build: $(STAMPS)/venv pyproject.toml
	$(PIP) --group build
	@touch $@

# The module lies in the source tree, outside .venv: it may be missing though the stamp is there.
$(STAMPS)/extension: $(STAMPS)/build $(RUST_SOURCES) $(if $(wildcard python/icfl/_core*.so),,FORCE)
	$(BIN)/maturin develop --release --extras report
	@touch $@

# `icfl[...]` is the package that the extension's stamp has installed; pip adds what the extra names.
$(STAMPS)/test: pyproject.toml | $(STAMPS)/extension
	$(PIP) --group test 'icfl[report,tables]'
	@touch $@

$(STAMPS)/lint: $(STAMPS)/venv pyproject.toml
	$(PIP) --group lint
	@touch $@

$(STAMPS)/bench: pyproject.toml | $(STAMPS)/extension
	$(PIP) --group bench
	@touch $@

$(STAMPS)/torch: | $(STAMPS)/extension
	@echo 'Installing PyTorch: a large download, once'
	$(PIP) 'icfl[torch]'
	@touch $@

FORCE:
