# `make help` lists the targets. Everything happens in .venv and build/.

PYTHON ?= python3
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BUILT := $(VENV)/.built
CORE := $(shell find csrc -name '*.[ch]')
C_FILES := $(CORE) $(wildcard tests/c/*.[ch] bench/*.[ch])
CTEST := $(MAKE) --no-print-directory -C tests/c -j$(JOBS)

# The real MNIST and the article's model, where they lie beside the checkout.
SHARED := $(abspath ../shared/data)
ifeq ($(AMBIGMNIST_DATA),)
ifneq ($(wildcard $(SHARED)/mnist),)
export AMBIGMNIST_DATA := $(SHARED)
endif
endif
ifeq ($(AMBIGMNIST_ARTICLE_MODEL),)
ifneq ($(wildcard $(SHARED)/seed-model/net1.h5),)
export AMBIGMNIST_ARTICLE_MODEL := $(SHARED)/seed-model/net1.h5
endif
endif

# A build that lost its result is no build.
ifeq ($(wildcard ambigmnist/_ambigcore*.so),)
$(shell rm -f $(BUILT))
endif

.DEFAULT_GOAL := help
.PHONY: help venv build demo test browser check bench bench-quick lint format types ctest ctest-asan ctest-tsan symbols \
    python-checks packages wheel sdist clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(INSTALLED) ## .venv with everything that development needs

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer needed; make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@command -v $(firstword $(CC)) >/dev/null || \
	    { echo "a C compiler is needed (Debian: apt-get install gcc)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	    { echo "python -m venv failed (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@$(BIN)/python -c 'import sysconfig, pathlib, sys; \
	    sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' || \
	    { echo "Python.h is missing (Debian: apt-get install python3-dev)" >&2; exit 1; }
	$(BIN)/python -m pip install -q --disable-pip-version-check "setuptools>=77.0.3" "numpy>=2.0"
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation -e ".[dev]"
	@touch $(INSTALLED) $(BUILT)

# In a make of its own, because making .venv builds too.
build: venv ## the extension, in place
	@$(MAKE) --no-print-directory $(BUILT)

$(BUILT): $(CORE) setup.py pyproject.toml
	$(BIN)/python setup.py -q build_ext --inplace --parallel $(JOBS)
	@touch $@

demo: build ## train, rank, draw: the command with its defaults (ARGS=... adds options)
	$(BIN)/ambigmnist $(ARGS)

test: build browser ## the whole test suite (ARGS=... goes to pytest)
	$(BIN)/python -m pytest $(ARGS)

# What the tests of the page need; where it cannot be had, they say that they are skipped.
BROWSERS := chromium-headless-shell chromium google-chrome
browser:
	@for name in $(BROWSERS); do command -v $$name >/dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing chromium-headless-shell for the tests of the page"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	        apt-get install -qq -y --no-install-recommends chromium-headless-shell >/dev/null && exit 0; \
	fi; \
	echo "NO BROWSER: the tests of the page are skipped" \
	    "(Debian: apt-get install chromium-headless-shell)" >&2

check: build ## everything: lint, types, C tests under sanitizers, warnings as errors, packages, benchmarks
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	@$(MAKE) --no-print-directory symbols
	@$(MAKE) --no-print-directory ctest
	@$(MAKE) --no-print-directory ctest-asan
	@$(MAKE) --no-print-directory ctest-tsan
	@$(MAKE) --no-print-directory python-checks
	@$(MAKE) --no-print-directory packages
	@$(MAKE) --no-print-directory bench-quick
	@echo "make check: all of it passed"

bench: build ## side by side against peers (ARGS=... goes to bench/run.py)
	$(BIN)/python bench/run.py $(ARGS)

bench-quick: build ## a small piece of every benchmark, so that none of them rots
	$(BIN)/python bench/run.py --quick $(ARGS)

lint: venv ## ruff and clang-format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(C_FILES)

format: venv ## rewrite the sources as lint wants them
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_FILES)

types: build ## mypy --strict, and the stubs against the built module
	$(BIN)/mypy
	$(BIN)/stubtest --mypy-config-file pyproject.toml ambigmnist._ambigcore

ctest: ## the core's own tests, with every instruction set of this machine
	$(CTEST) run

ctest-asan: ## the same under the address, leak and undefined behaviour sanitizers
	$(CTEST) FLAVOUR=asan run

ctest-tsan: ## the same under the thread sanitizer
	$(CTEST) FLAVOUR=tsan run

symbols: ## what the core needs from outside: no Python, of libm only sqrt
	$(CTEST) symbols

# The suite once more in development mode, without what trains to the end or drives a browser; then
# what depends on the instruction set with each of the others.
PYTEST_DEV := $(BIN)/python -X dev -b -W error -m pytest -q -m "not slow and not browser" $(ARGS)
KERNEL_TESTS := $(addprefix tests/test_,$(addsuffix .py,base layers network model rank article \
    gradients dropout_draws training_dynamics))
python-checks: build
	$(PYTEST_DEV)
	@set -e; for isa in $$($(BIN)/python -c \
	    'from ambigmnist import _ambigcore as c; print(*c.isa_available()[:-1])'); do \
	    echo "the same with AMBIGMNIST_ISA=$$isa, for $(KERNEL_TESTS)"; \
	    AMBIGMNIST_ISA=$$isa $(PYTEST_DEV) $(KERNEL_TESTS); \
	done

packages: build ## wheel and sdist, their size, an install of the sdist, the time of an import
	$(BIN)/python tests/check_packages.py

wheel: venv ## dist/*.whl
	$(BIN)/python -m build --wheel --no-isolation

sdist: venv ## dist/*.tar.gz
	$(BIN)/python -m build --sdist --no-isolation

clean: ## remove what was built, keep .venv
	rm -rf build dist *.egg-info ambigmnist/_ambigcore*.so $(BUILT)
