# Two commands are enough: `make demo` and `make test`. Every target first brings .venv up to date.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CARGO := cargo
MANIFEST := kernels/Cargo.toml
RUST_SOURCES := $(shell find kernels -name target -prune -o -type f \
	\( -name '*.rs' -o -name Cargo.toml -o -name Cargo.lock \) -print)
PROTO_SOURCES := $(wildcard proto/blindproof/v1/*.proto)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# One interpreter for every cargo call, so that clippy and the build share their artefacts.
export PYO3_PYTHON := $(abspath $(BIN)/python)

.PHONY: help demo examples test load chaos bench lint format proto lock requirements wheel reproducible sbom install \
	clean distclean

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' \
		| awk -F'\t' '{ printf "  make %-12s %s\n", $$1, $$2 }'

demo: $(INSTALLED) ## Encrypt, predict, prove, verify, decrypt; then watch forgeries being refused
	@$(BIN)/blindproof demo

examples: $(INSTALLED) ## Run every example of examples/; each draws its result
	@for script in examples/*/run.py; do echo "==> $$script"; $(BIN)/python "$$script"; done

test: $(INSTALLED) ## Run the tests of the Rust core, then those of everything else
	@echo "==> cargo test"
	@$(CARGO) test --quiet --locked --manifest-path $(MANIFEST) --package blindproof-kernels-core
	@echo "==> pytest"
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

load: $(INSTALLED) ## Ten minutes of steady load on a server, and a thousand idle streams
	@$(BIN)/python -m benchmarks.load

chaos: $(INSTALLED) ## Every fault a hundred times: kills, stops, stalled peers, full disks
	@BLINDPROOF_TEST_ROUNDS=all $(BIN)/python -m pytest tests/faults -s --timeout 3600

bench: $(INSTALLED) ## Measure every phase on this machine
	@$(BIN)/python -m benchmarks

lint: $(INSTALLED) ## Check style, types, the rules of import, and the Rust code
	@echo "==> ruff check"
	@$(BIN)/ruff check --quiet .
	@echo "==> ruff format"
	@$(BIN)/ruff format --quiet --check .
	@echo "==> mypy"
	@$(BIN)/mypy
	@echo "==> import-linter"
	@$(BIN)/lint-imports
	@echo "==> cargo fmt"
	@$(CARGO) fmt --manifest-path $(MANIFEST) --all -- --check
	@echo "==> cargo clippy"
	@$(CARGO) clippy --quiet --locked --manifest-path $(MANIFEST) --workspace --all-targets -- -D warnings

format: $(INSTALLED) ## Format the Python and the Rust sources
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .
	@$(CARGO) fmt --manifest-path $(MANIFEST) --all

# The sources live in proto/blindproof/v1; mapping that folder to wire/v1 makes the generated modules
# import one another as wire.v1.*, so that no generated line needs editing.
proto: $(INSTALLED) ## Generate wire/ from proto/
	@$(BIN)/python -m grpc_tools.protoc -Iwire/v1=proto/blindproof/v1 \
		--python_out=. --pyi_out=. $(PROTO_SOURCES)

lock: $(INSTALLED) ## Write the versions installed in .venv to requirements.lock
	@{ sed '/^[^#]/,$$d' requirements.lock; \
		$(BIN)/python -m pip freeze --exclude blindproof; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock
	@touch $(INSTALLED)

requirements: $(INSTALLED) ## Write what the image installs, by hashes, to deploy/requirements.txt
	@$(BIN)/python -m deploy.requirements

wheel: $(INSTALLED) ## Build the wheel into dist/, the same bytes wherever it is built
	@PATH="$(abspath $(BIN)):$$PATH" CARGO_TARGET_DIR=build/wheel deploy/wheel.sh dist

reproducible: $(INSTALLED) ## Build the wheel of the last commit in two folders and compare
	@PATH="$(abspath $(BIN)):$$PATH" deploy/reproduce.sh

sbom: $(INSTALLED) ## Write the image's bill of materials to dist/blindproof.cdx.json
	@SOURCE_DATE_EPOCH="$$(git log -1 --format=%ct)" $(BIN)/python -m deploy.sbom dist/blindproof.cdx.json

install: $(INSTALLED) ## Only bring .venv up to date

clean: ## Remove caches and builds, keep .venv
	@rm -rf build dist kernels/target kernels/_native*.so $(INSTALLED) \
		.hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf

distclean: clean ## Remove .venv as well
	@rm -rf $(VENV)

# ------------------------------------------------------------------------------------ the environment

$(BIN)/python:
	@for candidate in $(PYTHON) python3.11 python3; do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "==> creating $(VENV) with $$("$$candidate" --version)"; \
			exec "$$candidate" -m venv $(VENV); \
		fi; \
	done; \
	echo "Python 3.11 or later is needed; name one with: make PYTHON=/path/to/python" >&2; \
	exit 1

$(INSTALLED): pyproject.toml requirements.lock $(RUST_SOURCES) | $(BIN)/python
	@command -v $(CARGO) >/dev/null || { \
		echo "Rust is needed to build the kernels: no cargo on PATH" >&2; exit 1; }
	@command -v gcc >/dev/null || command -v cc >/dev/null || { \
		echo "A C compiler is needed to link the kernels: no gcc or cc on PATH" >&2; exit 1; }
	@echo "==> installing the build backend"
	@$(BIN)/python -m pip install --quiet --constraint requirements.lock maturin
	@echo "==> installing dependencies and compiling the kernels (minutes the first time)"
	@PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pip install --quiet \
		--constraint requirements.lock --no-build-isolation --editable '.[dev]'
	@touch $@
