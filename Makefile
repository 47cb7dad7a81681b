# The commands of the README. Each creates or re-uses the environment in .venv first.
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/installed
STEPS ?=
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
PARITY ?= .
REPORT ?= runs/parity.json

.PHONY: help setup quickstart test test-slow lint parity bench docs
help:
	@echo "make quickstart   environment, data, training, evaluation, pictures (runs/quickstart)"
	@echo "make test         lint and the fast test-suite"
	@echo "make test-slow    README commands, long runs"
	@echo "make parity       against the original's numbers in \$$UIO2_GOLDENS (PARITY=network|data|torch)"
	@echo "make bench        benchmarks, as ratios"

setup: $(STAMP)
	@echo "The environment $(VENV) is up to date."

# Rebuilt when the requirements change. The first interpreter that fits is taken; PYTHON=... names one.
$(STAMP): setup.py constraints.txt
	@python=""; for candidate in $(PYTHONS); do \
	  if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
	  then python="$$candidate"; break; fi; done; \
	if [ -z "$$python" ]; then \
	  echo "None of \"$(PYTHONS)\" is a Python 3.11, 3.12 or 3.13 with the venv module; install one (Debian: python3-venv) or name it: make setup PYTHON=/path/to/python3.12" >&2; exit 1; fi; \
	echo "Installing into $(VENV) with $$("$$python" --version) (a few minutes, about 4 GB) ..."; \
	"$$python" -m venv --clear $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $(STAMP)

quickstart: setup
	@$(PY) -m t5x.examples.unified_io.scripts.quickstart --output runs/quickstart $(if $(STEPS),--steps $(STEPS))

lint: setup
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

test: lint
	@$(PY) -m pytest -n 2 --dist loadfile -m 'not slow' tests

test-slow: setup
	@$(PY) -m pytest -n 2 --dist loadfile -m slow tests

parity: setup
	@$(PY) -m pytest tests/parity/$(PARITY) --parity-report $(REPORT)

bench: setup
	@for script in benchmarks/*.py; do echo "== $$script"; $(PY) $$script || exit 1; done

docs: setup
	@$(PY) -m pytest tests/contract/docs_test.py
