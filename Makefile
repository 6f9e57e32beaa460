# make demo: a clip is segmented into out/demo.mp4 and measured.   make test: everything is tested.
# make quick: most tests, in about a minute on two cores.   make lint: style, imports, types, words.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
QUICK := not (slow or system or train or gpu or release)
# Every test starts programs: with bytecode kept they start in two thirds of the time, and tests are collected in half.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test quick lint bench site dist release-check clean

demo: $(VENV)/.runtime
	$(BIN)/edge run demo/street.mp4 --overlay out/demo.mp4
	@echo
	$(BIN)/edge evaluate demo/street.mp4 --labels demo/labels --sparse
	@echo
	@echo 'The clip is rendered and short: its figures say that edge works here, not how well it sees a real street.'
	@echo 'Those are in docs/results.md. The masks, painted in: out/demo.mp4'

test: $(VENV)/.dev $(VENV)/.pycuda
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright
	$(BIN)/pytest -q -n 2 --dist worksteal -m 'not (system or release)'
	$(BIN)/pytest -m 'system and not release'

# What a release is checked by besides: seven minutes more, with a package index within reach.
release-check: $(VENV)/.dev
	$(BIN)/pytest -m release

# What needs no training, no browser, no container and not much time, in four processes: some tests wait.
quick: $(VENV)/.dev
	$(BIN)/pytest -q -n 4 --dist worksteal --hypothesis-profile quick -m '$(QUICK)'

lint: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/lint-imports
	$(BIN)/pyright
	$(BIN)/pytest -q tests/test_words.py

bench: $(VENV)/.runtime
	$(BIN)/edge bench

# The pages of docs/ with a reference made from the code: out/site/index.html.
site: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# Wheel and source distribution of this commit, the same bytes for every builder with the same setuptools, and their bill of
# materials (CycloneDX).
dist: $(VENV)/.dev
	rm -rf dist
	umask 022 && SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/uv build --quiet --out-dir dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python release/sbom.py dist/*.whl --to dist/sbom.json

# A Debian without python3-venv still makes a virtual environment through the virtualenv package, if pip is there.
$(VENV)/bin/python:
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo 'make: the venv module is missing. Try: sudo apt install python3-venv'; exit 1; }

$(VENV)/.runtime: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

# torch 2.13.0 by number: the CPU build where a package index or a local folder offers one.
$(VENV)/.dev: $(VENV)/.runtime
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[train,serve,dev]'
	@touch $@

# pycuda is for the tests of the CUDA layer, which run over a driver of their own; without it they are skipped.
$(VENV)/.pycuda: tests/fake_cuda/install.py $(VENV)/.dev
	@$(BIN)/python tests/fake_cuda/install.py $(VENV)/test-pycuda || true
	@touch $@

clean:
	rm -rf $(VENV) out build dist *.egg-info
