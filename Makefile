# The course, from a clone:
#
#   make course     run every notebook; the executed copies and a report are in runs/course/
#   make lab        open the notebooks in JupyterLab
#   make check      the inner loop, a few minutes: style, types, and every test that is not marked slow
#   make test       all tests for a change: `make check`, the slow tests, and the notebooks' stored outputs
#   make check-all  the long checks: the notebooks with their stored parameters, two hundred runs of a sweep with random kills,
#                   and the environments in which people open the course (hours)
#   make refresh    run the notebooks and store their outputs
#   make site       the course as pages with live views, in runs/site/: open index.html there
#   make publish    give the project its public address: make publish ADDRESS=https://github.com/OWNER/REPO
#   make pictures   update the README's pictures of the live views, with Chromium
#   make bench      measure speed and memory and update the pages with the results; run nothing else meanwhile
#
# Each creates .venv and installs what it needs, again only when pyproject.toml or constraints.txt has changed.
# Variables:
#
#   TORCH_INDEX=https://download.pytorch.org/whl/cpu   the package index for PyTorch only. On Linux the build on PyPI includes
#                                                      several GB of CUDA libraries; this one is for CPUs
#   PYTHON=/path/to/python3.11                         the Python for .venv, 3.11 or later
#   TESTS=tests/data                                   the tests that `make check` runs; default: all
#   BENCH=--again                                      options of `make bench`: --plan, --again, or names of benchmarks

.PHONY: course lab check style test check-all refresh site publish pictures bench
.DELETE_ON_ERROR:
.DEFAULT_GOAL := course

ifneq ($(shell test -w . && echo yes),yes)
$(error This folder cannot be written to. Copy the clone to a folder of yours, and run make there)
endif

SUITABLE = import sys; sys.exit(sys.version_info < (3, 11))
# The first one that runs and is recent enough, because version managers install commands that only print an error.
PYTHON ?= $(shell for name in python3.11 python3 python3.12 python3.13 python; do "$$name" -c '$(SUITABLE)' 2>/dev/null && echo "$$name" && break; done)
RUN = .venv/bin/python -m
GPU = $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu)
# The course does not need the Hub.
OFFLINE = HF_HUB_OFFLINE=1
# One process more than there are cores, because tests also wait for browsers and kernels; at most four, because each may need two
# gigabytes of memory. Each has one thread: with more, processes that share cores are ten times slower. An idle process takes the longest
# remaining test; a group (`xdist_group`) stays together.
PROCESSES = $(shell python3 -c 'import os; print(min(4, (os.cpu_count() or 1) + 1))' 2>/dev/null || echo 2)
PYTEST = $(OFFLINE) OMP_NUM_THREADS=1 $(RUN) pytest --numprocesses=$(PROCESSES) --dist=loadgroup --no-loadscope-reorder --durations=20
# Time limits are for notebooks that hang. Those of tests are in tests/gate.py.
NBVAL = --nbval-lax --nbval-kernel-name=python3 --nbval-cell-timeout=7200 --nbval-kernel-startup-timeout=300
TESTS = tests

# A larger installation is used for the smaller targets, too, so that targets do not replace each other's packages.
course: $(firstword $(wildcard .venv/installed-dev .venv/installed-lab) .venv/installed-course)
	$(OFFLINE) $(RUN) nbtools run --out runs/course

lab: $(firstword $(wildcard .venv/installed-dev) .venv/installed-lab)
	$(RUN) jupyterlab --notebook-dir=notebooks

refresh: $(firstword $(wildcard .venv/installed-dev .venv/installed-lab) .venv/installed-course)
	.venv/bin/python tools/install_cell.py
	$(OFFLINE) $(RUN) nbtools refresh
	.venv/bin/python tools/refresh_readme.py

site: $(firstword $(wildcard .venv/installed-dev .venv/installed-lab) .venv/installed-course)
	$(OFFLINE) $(RUN) nbtools site --out runs/site

publish: $(firstword $(wildcard .venv/installed-dev .venv/installed-lab) .venv/installed-course)
	.venv/bin/python tools/publish.py "$(ADDRESS)"

pictures: .venv/installed-dev
	$(OFFLINE) .venv/bin/python tools/picture_views.py

style: .venv/installed-dev
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

check: style
	$(PYTEST) -m "not slow and not long" $(TESTS)

test: style
	$(PYTEST) $(NBVAL) tests notebooks

check-all: .venv/installed-dev
	failed=0; $(PYTEST) -m long tests || failed=1; $(PYTEST) $(NBVAL) --stored-parameters notebooks || failed=1; \
		for name in colab bundle binder oldest newest $(GPU); do $(RUN) environments.$$name || failed=1; done; \
		.venv/bin/python tools/refresh_readme.py; exit $$failed

# It says how long it takes, and resumes after an interruption; BENCH=--again starts anew, BENCH=--plan only says how long it takes. The
# benchmark mini is separate, because it needs another model to compare with: python -m benchmarks.mini --against FOLDER
bench: .venv/installed-bench
	$(RUN) nbtools fetch smollm2
	$(OFFLINE) $(RUN) benchmarks $(BENCH)

.venv/installed-course .venv/installed-lab .venv/installed-dev .venv/installed-bench: .venv/installed-%: pyproject.toml constraints.txt
	@"$(PYTHON)" -c '$(SUITABLE)' 2>/dev/null || { \
		echo 'The course needs Python 3.11 or later, which $(or $(PYTHON),what was found here) is not.' >&2; \
		echo '  -> Install one (python.org has them), or name it: make course PYTHON=/path/to/python3.11' >&2; exit 1; }
	@"$(PYTHON)" tools/make_venv.py $* $(if $(TORCH_INDEX),--torch-index "$(TORCH_INDEX)")
