# make demo · make test · make check · make bench
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo
# Tests that need minutes, a server or a browser are left out unless MARKS is empty.
MARKS ?= not slow
# Files are spread over so many processes; a file's tests stay together, with the project they share.
# Their order is that of tests/conftest.py. Hundreds of processes import the same files: bytecode is kept.
JOBS ?= 2
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Without an NVIDIA driver the CUDA build of torch would be gigabytes for nothing.
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu
HAS_CPU_INDEX = import urllib.request; urllib.request.urlopen('$(TORCH_CPU_INDEX)/torch/', timeout=5)

.PHONY: demo test check bench clean

demo: $(VENV)/.demo
	$(BIN)/bakeoff demo --folder $(DEMO)

test: $(VENV)/.dev
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(if $(MARKS),-m "$(MARKS)") $(PYTEST_ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports
	$(BIN)/python tools/check_links.py
	$(BIN)/python tools/check_prose.py

bench: $(VENV)/.dev
	@for script in $(wildcard benchmarks/*.py); do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@index=""; \
	if ! command -v nvidia-smi >/dev/null && $(PYTHON) -c "$(HAS_CPU_INDEX)" 2>/dev/null; \
	then index="--extra-index-url $(TORCH_CPU_INDEX)"; fi; \
	echo "installing bakeoff and what the demo needs; the first time takes some minutes"; \
	$(PIP) install -c constraints.txt $$index -e '.[demo]'
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP) install -c constraints.txt -e '.[demo,dev]'
	touch $@
