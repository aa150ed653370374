# make lab     JupyterLab on the first notebook (HEADLESS=1: print its address instead)
# make app     the explorer as a web page, for your own clip (HEADLESS=1 likewise)
# make test    every test          make test-fast   without browser, films, kills, notebooks …
# make fuzz    damaged files, messages, calls and kills for an hour (MINUTES=60 SEED=0 DOOR=config)
# make check   style, spelling, import contracts, types
# make dist    the sdist and the wheel, tried in an empty environment
# The virtual environment is .venv; what was installed once is not installed again. To choose your
# own build of torch (pip's default on Linux is a CUDA build), install it into .venv beforehand.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
PYTEST ?=
PARALLEL := -n auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder
SLOW := bench or browser or films or fuzz or interpreted or kill or notebook or torchrun
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# On a CPU: keep freed memory for the next operation instead of giving it back (up to a quarter
# faster, since memory that is new to a process is slow to touch)
KEEP_MEMORY := MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000 \
	MALLOC_TOP_PAD_=500000000
TRAIN_ENV := OMP_WAIT_POLICY=PASSIVE $(KEEP_MEMORY)
USER_STAMP := .venv/.installed-all
TEST_STAMP := .venv/.installed-test
BENCH_STAMP := .venv/.installed-bench

.PHONY: help
help:
	@sed -n 's/^# make /make /p' Makefile
	@echo "also: make notebooks, demo-model, shortcut-model, recall-model, camera-model,"
	@echo "      photographs, lens, features, report CLIP=..., page, bench, truth and scorecard (SUBJECT=recall-nano),"
	@echo "      clips, wasm, resolve, links, clean"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) is older than 3.11; name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv

$(USER_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing vmamba-explore into .venv (once; a few minutes)" >&2
	@$(PIP) torch >&2
	@$(PIP) -e ".[all]" >&2
	@touch $@

$(TEST_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing vmamba-explore and its test tools into .venv (once; a few minutes)" >&2
	@$(PIP) torch >&2
	@$(PIP) -e ".[test]" >&2
	@touch $@ $(USER_STAMP)

$(BENCH_STAMP): $(TEST_STAMP)
	@echo "Installing what to compare with into .venv (once)" >&2
	@$(PIP) -e ".[test,bench]" >&2
	@touch $@

.PHONY: lab
lab: $(USER_STAMP)
	@$(KEEP_MEMORY) exec $(BIN)/python .ci/lab.py $(if $(HEADLESS),--headless)

.PHONY: app
app: $(USER_STAMP)
	@$(KEEP_MEMORY) exec $(BIN)/python .ci/app.py $(if $(HEADLESS),--headless) $(if $(PATHS),--paths) \
	    $(if $(MEMORY_GIB),--memory-gib $(MEMORY_GIB))

# What Python compiles of the tests and of the checked package is kept: half of a start
test test-fast: export PYTHONDONTWRITEBYTECODE :=

.PHONY: test
test: $(TEST_STAMP)
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST)

.PHONY: test-fast
test-fast: $(TEST_STAMP)
	$(BIN)/python -m pytest $(PARALLEL) -m "not ($(SLOW))" $(PYTEST)

.PHONY: check
check: $(TEST_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/typos
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory check-javascript; \
	    else echo "JavaScript is not checked: there is no npm on this machine" >&2; fi

.PHONY: check-javascript
check-javascript: node_modules/.package-lock.json
	npm run --silent lint
	npm run --silent test

node_modules/.package-lock.json: package.json package-lock.json
	@npm ci --silent --no-fund --no-audit

.PHONY: wasm
wasm: $(USER_STAMP)
	@$(PIP) -e ".[wasm]" >&2
	$(BIN)/python .ci/wasm.py

MINUTES ?= 60
SEED ?= 0

.PHONY: fuzz
fuzz: $(TEST_STAMP)
	$(BIN)/python -m tests.fuzz.campaign --minutes $(MINUTES) --seed $(SEED) $(if $(DOOR),--door $(DOOR))

.PHONY: notebooks
notebooks: $(TEST_STAMP)
	$(BIN)/python -m pytest $(PARALLEL) tests/test_notebooks.py $(PYTEST)

.PHONY: demo-model
demo-model: $(USER_STAMP)
	$(TRAIN_ENV) $(BIN)/python -m vmamba_explore.studies.subjects.motion_nano

.PHONY: shortcut-model
shortcut-model: $(USER_STAMP)
	$(TRAIN_ENV) $(BIN)/python -m vmamba_explore.studies.subjects.motion_watermark

.PHONY: recall-model
recall-model: $(USER_STAMP)
	$(TRAIN_ENV) $(BIN)/python -m vmamba_explore.studies.subjects.recall_nano

.PHONY: camera-model
camera-model: $(USER_STAMP)
	$(TRAIN_ENV) $(BIN)/python -m vmamba_explore.studies.subjects.camera_nano

.PHONY: lens
lens: $(USER_STAMP)
	$(TRAIN_ENV) $(BIN)/python -m vmamba_explore.studies.lens $(LENS)

.PHONY: features
features: $(USER_STAMP)
	$(BIN)/python -m vmamba_explore.studies.features.run

.PHONY: photographs
photographs: $(USER_STAMP)
	$(BIN)/python -m vmamba_explore.studies.subjects.photographs

.PHONY: page
page: $(USER_STAMP)
	$(KEEP_MEMORY) $(BIN)/vmamba-explore page --output "$(or $(OUTPUT),live.html)"

.PHONY: report
report: $(USER_STAMP)
	$(if $(CLIP),,$(error Name a video file: make report CLIP=my.mp4))
	$(KEEP_MEMORY) $(BIN)/vmamba-explore report "$(CLIP)" --output "$(or $(OUTPUT),report.html)"

.PHONY: bench
bench: $(BENCH_STAMP)
	$(BIN)/python kernels/bench/run.py
	$(KEEP_MEMORY) $(BIN)/python tests/bench/record.py
	$(KEEP_MEMORY) $(BIN)/python tests/bench/peer_states.py
	$(KEEP_MEMORY) $(BIN)/python tests/bench/scan_operator.py
	$(BIN)/python tests/bench/attribution.py
	$(BIN)/python tests/bench/lrp.py
	$(KEEP_MEMORY) $(BIN)/python tests/bench/explorer.py
	$(BIN)/python tests/bench/live_page.py
	$(KEEP_MEMORY) $(BIN)/python tests/bench/long_video.py
	$(BIN)/python tests/bench/token_frames.py
	$(BIN)/python tests/bench/extraction.py
	@if [ -d ../shared/real_windows ]; then $(KEEP_MEMORY) $(BIN)/python tests/bench/long_camera.py; fi
	$(KEEP_MEMORY) $(BIN)/python tests/bench/training.py
	$(KEEP_MEMORY) $(BIN)/python tests/bench/models.py

SUBJECT ?= motion-nano recall-nano camera-nano

.PHONY: truth
truth: $(TEST_STAMP)
	@set -e; for subject in $(SUBJECT); do \
	    $(KEEP_MEMORY) $(BIN)/python tests/bench/truth.py --subject $$subject; \
	    $(KEEP_MEMORY) $(BIN)/python tests/bench/probes.py --subject $$subject; done

.PHONY: scorecard
scorecard: $(TEST_STAMP)
	@set -e; for subject in $(SUBJECT); do \
	    $(KEEP_MEMORY) $(BIN)/python tests/bench/scorecard.py --subject $$subject; done

.PHONY: clips
clips: $(USER_STAMP)
	$(BIN)/python -m vmamba_explore.studies.subjects.samples

.PHONY: dist
dist: $(USER_STAMP)
	@$(PIP) -e ".[release]" >&2
	PYTHONPATH= $(BIN)/python .ci/dist.py

.PHONY: resolve
resolve: $(USER_STAMP)
	@$(PIP) -e ".[release]" >&2
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python .ci/resolve.py $(EXTRA)

.PHONY: links
links: $(USER_STAMP)
	$(BIN)/python .ci/links.py

.PHONY: clean
clean:
	rm -rf .venv .*_cache .cache build dist report.html live.html *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
