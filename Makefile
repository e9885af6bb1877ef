# make demo · make test · make check · make docs · make bench · make wheel · make pictures
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo
# Tests that need minutes, a server or a browser are left out unless MARKS is empty.
MARKS ?= not slow
# Versions of the other end: the oldest that pyproject.toml allows.
LOWEST ?= .venv-lowest
GPU_VENV ?= .venv-gpu
WHEEL_VENV ?= .venv-wheel
# For uv, which writes hashes.
LOCK ?= .venv-lock
# Files are spread over so many processes; a file's tests stay together, with the project they share.
# Their order is that of tests/conftest.py. Hundreds of processes import the same files: bytecode is kept.
JOBS ?= 2
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Without an NVIDIA driver the CUDA build of torch would be gigabytes for nothing.
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu
HAS_CPU_INDEX = import urllib.request; urllib.request.urlopen('$(TORCH_CPU_INDEX)/torch/', timeout=5)
FIND_INDEX = index=""; if ! command -v nvidia-smi >/dev/null && $(PYTHON) -c "$(HAS_CPU_INDEX)" 2>/dev/null; \
	then index="--extra-index-url $(TORCH_CPU_INDEX)"; fi

.PHONY: demo test test-lowest check check-gpu docs bench wheel try-wheel pictures lock clean

demo: $(VENV)/.demo
	$(BIN)/bakeoff demo --folder $(DEMO)

test: $(VENV)/.dev
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(if $(MARKS),-m "$(MARKS)") $(PYTEST_ARGS)

test-lowest: $(LOWEST)/.dev
	PYTHONDONTWRITEBYTECODE= $(LOWEST)/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not slow" $(PYTEST_ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports
	$(BIN)/python tools/check_links.py
	$(BIN)/python tools/check_prose.py

# On a Linux machine with an NVIDIA GPU: PyTorch and ONNX Runtime on it, against the CPU. Written, not run.
check-gpu: $(GPU_VENV)/.dev
	PYTHONDONTWRITEBYTECODE= $(GPU_VENV)/bin/python -m pytest -v -rs tests/gpu

bench: $(VENV)/.dev
	@for script in $(wildcard benchmarks/*.py); do $(BIN)/python $$script || exit 1; done

wheel:
	$(PYTHON) -m pip --disable-pip-version-check --quiet wheel --no-deps --wheel-dir dist .
	@ls dist/*.whl

# Warnings are errors. Nothing is fetched; the pages load nothing from elsewhere.
docs: $(VENV)/.dev
	$(BIN)/python -m sphinx -W --keep-going -q -c docs -d build/doctrees . build/docs
	@echo build/docs/index.html

# The pictures of the README, from the demo or from another project: make pictures DEMO=FOLDER
pictures: $(VENV)/.dev
	$(BIN)/python tools/make_pictures.py $(DEMO)

# Core dependencies with their hashes, at the versions of constraints.txt. Extras are left out: torch comes from an
# index of its own.
lock:
	$(PYTHON) -m venv $(LOCK)
	$(LOCK)/bin/python -m pip --disable-pip-version-check --quiet install uv
	$(LOCK)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" --constraint constraints.txt pyproject.toml --output-file requirements-core.lock

clean:
	rm -rf build
	rm -rf $(VENV) $(LOWEST) $(GPU_VENV) $(LOCK) $(WHEEL_VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@$(FIND_INDEX); \
	echo "installing bakeoff and what the demo needs; the first time takes some minutes"; \
	$(PIP) install -c constraints.txt $$index -e '.[demo]'
	touch $@

# uv, since pip knows no oldest versions. Packages that others need are as new as ever.
$(LOWEST)/.dev: pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip --disable-pip-version-check --quiet install uv
	$(LOWEST)/bin/uv pip compile --quiet --resolution lowest-direct --extra demo --extra dev pyproject.toml --output-file $(LOWEST)/lowest.txt
	VIRTUAL_ENV=$(LOWEST) $(LOWEST)/bin/uv pip install --quiet -r $(LOWEST)/lowest.txt
	VIRTUAL_ENV=$(LOWEST) $(LOWEST)/bin/uv pip install --quiet --no-deps -e .
	touch $@

# The commands of the pages, as a new user types them: the demo, the tutorial, the examples. The environment has the
# wheel, and what the examples say they need.
try-wheel: wheel $(VENV)/.dev
	$(PYTHON) -m venv --clear $(WHEEL_VENV)
	@$(FIND_INDEX); \
	$(WHEEL_VENV)/bin/python -m pip --disable-pip-version-check --quiet install -c constraints.txt $$index \
	    "bakeoff[demo] @ file://$(CURDIR)/$$(ls dist/*.whl)" accelerate skops
	$(BIN)/python tests/as_new_user.py $(WHEEL_VENV)/bin $(WHEEL_VENV)/work

# The builds of PyPI: torch with CUDA, and onnxruntime-gpu in place of onnxruntime, whose module it replaces.
$(GPU_VENV)/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(GPU_VENV)
	grep -v -E '^(torch|onnxruntime|nvidia|triton)' constraints.txt > $(GPU_VENV)/constraints.txt
	$(GPU_VENV)/bin/python -m pip --disable-pip-version-check --quiet install -c $(GPU_VENV)/constraints.txt -e '.[demo]' pytest pytest-timeout hypothesis
	$(GPU_VENV)/bin/python -m pip --disable-pip-version-check --quiet uninstall -y onnxruntime
	$(GPU_VENV)/bin/python -m pip --disable-pip-version-check --quiet install 'onnxruntime-gpu>=1.20'
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP) install -c constraints.txt -e '.[demo,dev]'
	touch $@
