# Everything for a fresh machine with Python 3.11 and gcc. Each target makes .venv and installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find csrc kernels pyconv -type f \( -name '*.py' -o -name '*.pyi' -o -name '*.[ch]' -o -name '*.json' \)) \
           setup.py pyproject.toml MANIFEST.in README.md LICENSE
# *.inc.c are parts of the others.
C_FILES := $(filter-out %.inc.c,$(wildcard csrc/*.c))

.PHONY: demo test lint bench clean

# The main job: filters and convnet layers on a real photograph, as a table and out/demo.png.
demo: $(VENV)/.demo
	$(BIN)/pyconv demo

# The whole suite, against the package as it is installed (-P keeps the checkout off the import path).
test: $(VENV)/.test
	cd tests && ../$(BIN)/python -P -c 'import pyconv; assert "site-packages" in pyconv.__file__, pyconv.__file__'
	cd tests && ../$(BIN)/python -P -m pytest -n auto -c ../pyproject.toml --rootdir ..

# Of warnings in C those that need no optimiser; the others are looked for where the tests build the distributions.
lint: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	printf '%s\n' $(C_FILES) | xargs -P $$(nproc) -I@ gcc -std=gnu11 -fsyntax-only -Wall -Wextra -Wshadow -Werror @

# Against torch, onnxruntime, OpenVINO, ncnn, OpenCV and SciPy; about 2 GB of rivals.
bench: $(VENV)/.bench
	$(BIN)/pyconv bench

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# A wheel is built from scratch, so that no stale file of an earlier build gets into it. Of build/ only the wheel's own
# folders go: an editable install in strict mode lives in build/__editable__*, and would be lost.
$(VENV)/.%: $(BIN)/python $(SOURCES)
	rm -rf build/lib* build/bdist* build/temp* *.egg-info
	PYCONV_REQUIRE_C=1 $(BIN)/python -m pip install --quiet '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) build dist out *.egg-info .mypy_cache .ruff_cache .pytest_cache
