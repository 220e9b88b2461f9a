# `make help` lists the targets. Each makes the virtual environment it needs, once; afterwards
# everything works without a network, also the rebuild after a change of the C++ sources.
#
# VENV    where the virtual environment lives
# PYTHON  the interpreter it is made from
# TORCH   what pip installs for the encoders
# CXX     the C++20 compiler; c++, g++ and clang++ are tried if it is not given
# ARGS    further arguments for demo, test and bench: make test ARGS="-k filter"

# How `make test` shares the tests out: whole files, in their order, so that what a module sets up
# is set up once, and short files come last. ARGS="-n 0" runs all in one process.
PARALLEL := -n auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

VENV ?= .venv
TORCH ?= torch==2.13.0
PYTHON ?= python3
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet
SOURCES := $(wildcard vecstore/kernels/CMakeLists.txt vecstore/kernels/*.cpp vecstore/kernels/*.h)

# make always has a CXX; only one that somebody chose is passed on.
ifneq ($(origin CXX),default)
export CXX
endif
export PYTHON
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Each environment compiles in its own folder, so that two never share a CMake cache.
export SKBUILD_BUILD_DIR := $(abspath $(VENV))/build

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test check encoders bench fault proto clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /make \1: /p' Makefile

demo: $(VENV)/.demo ## search Python's standard library, embedded and over gRPC
	$(BIN)/vecstore demo $(ARGS)

test: $(VENV)/.dev ## run every test
	$(BIN)/python -m pytest -q $(PARALLEL) $(ARGS)

encoders: $(VENV)/.encoders ## test the encoders, which need torch: TORCH says which
	$(BIN)/python -m pytest -q tests/unit/test_encoders.py tests/unit/test_encoder_pages.py $(ARGS)

fault: $(VENV)/.fault ## crash, damage, fill and soak databases: about an hour
	VECSTORE_FAULT=full $(BIN)/python -m pytest -q tests/fault $(ARGS)
	for target in segment forged packed manifest filter; do \
	    $(BIN)/python -m tests.fault.fuzz $$target 60 || exit 1; \
	done
	$(BIN)/python -m tests.fault.soak 600

check: $(VENV)/.dev ## run ruff, mypy, the import contracts and the tidy tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/tidy

bench: $(VENV)/.bench ## measure for ten minutes, beside a few peers, and print tables
	$(BIN)/python -m bench.run --quick $(ARGS)

proto: $(VENV)/.dev ## generate the wire code from the .proto files
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=proto --pyi_out=proto \
	    --grpc_python_out=proto proto/vecstore_proto/v1/*.proto

clean: ## remove the virtual environment, builds, caches and the demo's database
	rm -rf $(VENV) build dist demo .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment, with what pyproject.toml wants for a build.
$(VENV)/.base: pyproject.toml .ci/machine
	@.ci/machine >/dev/null
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' >$(VENV)/build-requires.txt
	@$(PIP) cmake ninja -r $(VENV)/build-requires.txt
	@touch $@

# vecstore itself: the one place that compiles the kernels.
$(VENV)/.built: $(VENV)/.base pyproject.toml $(SOURCES)
	@echo "building vecstore in $(VENV) (minutes, the first time)"
	@CXX=$$(.ci/machine) && export CXX && $(PIP) --no-build-isolation --editable .
	@touch $@

# What EXTRAS need besides: nothing is compiled, and nothing downloaded that is there already.
$(VENV)/.demo: EXTRAS := demo
$(VENV)/.dev: EXTRAS := dev
$(VENV)/.encoders: EXTRAS := dev,encoders
$(VENV)/.bench: EXTRAS := dev,cpu
$(VENV)/.fault: EXTRAS := dev,fault
$(VENV)/.encoders: $(VENV)/.torch
$(VENV)/.demo $(VENV)/.dev $(VENV)/.encoders $(VENV)/.bench $(VENV)/.fault: pyproject.toml | $(VENV)/.built
	@echo "adding what vecstore[$(EXTRAS)] needs to $(VENV)"
	@$(PIP) 'vecstore[$(EXTRAS)]'
	@touch $@

# First, so that no other build of torch is what the encoders bring.
$(VENV)/.torch: | $(VENV)/.base
	@$(PIP) '$(TORCH)'
	@touch $@
