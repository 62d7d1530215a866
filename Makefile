# The course, from a clone:
#
#   make course     run every notebook; the executed copies and a page to read appear in runs/course/
#   make lab        open the notebooks in JupyterLab
#   make test       everything that guards a change: style, types, tests, the notebooks' stored outputs
#   make check-all  the long checks: two hundred runs of a sweep with random kills; the places where people open the course (hours)
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

.PHONY: course lab test check-all refresh pictures bench
.DELETE_ON_ERROR:
.DEFAULT_GOAL := course

SUITABLE = import sys; sys.exit(sys.version_info < (3, 11))
# The first that really runs and is recent enough: a version manager leaves commands behind that only print an error.
PYTHON ?= $(shell for name in python3.11 python3 python3.12 python3.13 python; do "$$name" -c '$(SUITABLE)' 2>/dev/null && echo "$$name" && break; done)
PIP = .venv/bin/python -m pip --disable-pip-version-check --no-input
GPU = $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu)
# The course never needs the Hub, and stays away from it.
OFFLINE = HF_HUB_OFFLINE=1
# The tests of a file stay together, in order, and a notebook is a file. Processes that share the cores are fast with a thread each,
# and ten times slower with as many threads as there are cores; each may need two gigabytes of memory, so there are at most four.
PYTEST = $(OFFLINE) OMP_NUM_THREADS=1 .venv/bin/pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile

# A larger installation serves the smaller targets too, so that they do not install past each other.
course: $(firstword $(wildcard .venv/installed-dev .venv/installed-lab) .venv/installed-course)
	$(OFFLINE) .venv/bin/nbtools run --out runs/course

lab: $(firstword $(wildcard .venv/installed-dev) .venv/installed-lab)
	.venv/bin/jupyter lab --notebook-dir=notebooks

refresh: $(firstword $(wildcard .venv/installed-dev .venv/installed-lab) .venv/installed-course)
	.venv/bin/python scripts/install_cell.py
	$(OFFLINE) .venv/bin/nbtools refresh
	.venv/bin/python scripts/refresh_readme.py

pictures: .venv/installed-dev
	$(OFFLINE) .venv/bin/python scripts/picture_views.py

# nbval runs the notebooks as they are stored, with a folder for runs of their own that begins empty.
test: .venv/installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	$(PYTEST) tests
	rm -rf runs/.nbval
	NBTOOLS_HEADLESS=1 NBTOOLS_PROGRESS=0 NBTOOLS_RUNS="$(CURDIR)/runs/.nbval" $(PYTEST) \
		--nbval-lax --nbval-kernel-name=python3 --nbval-cell-timeout=900 notebooks

check-all: .venv/installed-dev
	$(OFFLINE) .venv/bin/pytest tests -m long
	failed=0; for name in colab bundle binder oldest newest $(GPU); do .venv/bin/python -m environments.$$name || failed=1; done; \
		.venv/bin/python scripts/refresh_readme.py; exit $$failed

# Each ends by storing its result; what an interrupted one had measured before is kept. Apart from these stands mini,
# which needs another model to compare with: .venv/bin/python -m benchmarks.mini --against FOLDER
bench: .venv/installed-bench
	.venv/bin/nbtools fetch smollm2
	for name in finetune_throughput dropout time_to_perplexity generation estimate attention_payload course profile adapters sweep; do \
		$(OFFLINE) .venv/bin/python -m benchmarks.$$name || exit; done
	.venv/bin/python -m benchmarks.report

.venv/installed-course: EXTRAS = course
.venv/installed-lab: EXTRAS = lab
.venv/installed-dev: EXTRAS = dev
.venv/installed-bench: EXTRAS = bench

.venv/installed-course .venv/installed-lab .venv/installed-dev .venv/installed-bench: .venv/made pyproject.toml constraints.txt
	$(if $(TORCH_INDEX),$(PIP) install --no-deps -c constraints.txt --index-url "$(TORCH_INDEX)" torch)
	$(PIP) install -c constraints.txt -e ".[$(EXTRAS)]"
	$(if $(filter %-bench,$@),$(PIP) install --no-deps -c constraints.txt bertviz) # its boto3, which a head view never asks for, would move urllib3
	$(if $(filter %-bench,$@),$(PIP) install -c constraints.txt -e ".[llama]" || echo 'llama.cpp does not install here: it is left out of the tables.')
	@touch $@

.venv/made:
	@"$(PYTHON)" -c '$(SUITABLE)' 2>/dev/null || { \
		echo 'The course needs Python 3.11 or later, which $(or $(PYTHON),what was found here) is not.' >&2; \
		echo '  -> Install one (python.org has them), or name it: make course PYTHON=/path/to/python3.11' >&2; exit 1; }
	"$(PYTHON)" -m venv .venv
	@touch $@
