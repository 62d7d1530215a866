# The course, from a clone:
#
#   make course     run every notebook; the executed copies and a page to read appear in runs/course/
#   make lab        open the notebooks in JupyterLab
#   make check      the inner loop, a few minutes: style, types, and every test that is not marked slow
#   make test       everything that guards a change: `make check` and the slow tests, the notebooks' stored outputs among them
#   make check-all  the long checks: the notebooks at their stored parameters, two hundred runs of a sweep with random kills,
#                   the environments in which people open the course (hours)
#   make refresh    run the notebooks again and store their outputs in place
#   make pictures   take the README's pictures of the live views again, in Chromium
#   make bench      measure speed and memory against peers, and write the pages that show it; let nothing else run meanwhile
#
# Each makes .venv and installs what it needs, once, and again when pyproject.toml or constraints.txt has changed.
# Settings, given behind the command:
#
#   TORCH_INDEX=https://download.pytorch.org/whl/cpu   take PyTorch, and nothing else, from that index. On Linux PyPI's own
#                                                      build brings several GB of CUDA; this one works on the processor alone
#   PYTHON=/path/to/python3.11                         the Python that .venv is made from, 3.11 or later
#   TESTS=tests/data                                   the tests that `make check` runs; without it, all of them

.PHONY: course lab check style test check-all refresh pictures bench
.DELETE_ON_ERROR:
.DEFAULT_GOAL := course

ifneq ($(shell test -w . && echo yes),yes)
$(error This folder cannot be written to. Copy the clone to a folder of yours, and run make there)
endif

SUITABLE = import sys; sys.exit(sys.version_info < (3, 11))
# The first that really runs and is recent enough: a version manager leaves commands behind that only print an error.
PYTHON ?= $(shell for name in python3.11 python3 python3.12 python3.13 python; do "$$name" -c '$(SUITABLE)' 2>/dev/null && echo "$$name" && break; done)
RUN = .venv/bin/python -m
GPU = $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu)
# The course never needs the Hub, and stays away from it.
OFFLINE = HF_HUB_OFFLINE=1
# One process more than there are cores, because tests also wait for browsers and kernels; at most four, because each may need two
# gigabytes of memory. Each has one thread: with more, processes that share cores are ten times slower. A free process takes the next
# test, the longest first; a group (`xdist_group`) stays together.
PROCESSES = $(shell python3 -c 'import os; print(min(4, (os.cpu_count() or 1) + 1))' 2>/dev/null || echo 2)
PYTEST = $(OFFLINE) OMP_NUM_THREADS=1 $(RUN) pytest --numprocesses=$(PROCESSES) --dist=loadgroup --no-loadscope-reorder --durations=20
# Time limits are for hangs. Those of single tests are in conftest.py.
NBVAL = --nbval-lax --nbval-kernel-name=python3 --nbval-cell-timeout=7200 --nbval-kernel-startup-timeout=300
TESTS = tests

# A larger installation serves the smaller targets too, so that they do not install past each other.
course: $(firstword $(wildcard .venv/installed-dev .venv/installed-lab) .venv/installed-course)
	$(OFFLINE) $(RUN) nbtools run --out runs/course

lab: $(firstword $(wildcard .venv/installed-dev) .venv/installed-lab)
	$(RUN) jupyterlab --notebook-dir=notebooks

refresh: $(firstword $(wildcard .venv/installed-dev .venv/installed-lab) .venv/installed-course)
	.venv/bin/python tools/install_cell.py
	$(OFFLINE) $(RUN) nbtools refresh
	.venv/bin/python tools/refresh_readme.py

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

# Each ends by storing its result; what an interrupted one had measured before is kept. Apart from these stands mini,
# which needs another model to compare with: python -m benchmarks.mini --against FOLDER
bench: .venv/installed-bench
	$(RUN) nbtools fetch smollm2
	for name in finetune_throughput dropout time_to_perplexity generation estimate attention_payload course profile adapters sweep; do \
		$(OFFLINE) $(RUN) benchmarks.$$name || exit; done
	$(RUN) benchmarks.report

.venv/installed-course .venv/installed-lab .venv/installed-dev .venv/installed-bench: .venv/installed-%: pyproject.toml constraints.txt
	@"$(PYTHON)" -c '$(SUITABLE)' 2>/dev/null || { \
		echo 'The course needs Python 3.11 or later, which $(or $(PYTHON),what was found here) is not.' >&2; \
		echo '  -> Install one (python.org has them), or name it: make course PYTHON=/path/to/python3.11' >&2; exit 1; }
	@"$(PYTHON)" tools/make_venv.py $* $(if $(TORCH_INDEX),--torch-index "$(TORCH_INDEX)")
