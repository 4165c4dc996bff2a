# Two commands are all the set-up there is: `make run` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
EXTRAS ?= test
# Tests of one file stay in one process, where they share what is compiled.
PARALLEL ?= --numprocesses auto --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help run test slow bench lint format schema docs clean

help:  ## List the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "privsec needs Python 3.11 or newer; set PYTHON=..."'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# One stamp a set of extras: installing is done once, and again when the requirements change.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".$(if $(filter core,$*),,[$*])"
	@touch $@

run: $(VENV)/.installed-core  ## Install, run configs/quickstart.yaml on real data, print where the report is
	$(BIN)/privsec run configs/quickstart.yaml

test: $(VENV)/.installed-$(EXTRAS)  ## Install the test extras and run the tests
	$(BIN)/python -m pytest $(PARALLEL)

slow: $(VENV)/.installed-$(EXTRAS)  ## Run every test, the slow ones too
	$(BIN)/python -m pytest $(PARALLEL) -m ""

bench: $(VENV)/.installed-bench  ## Install what others offer, time ours against it (about half an hour)
	$(BIN)/python benchmarks/every.py

lint: $(VENV)/.installed-lint  ## Style, types, import contracts, spelling, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/privsec schema --check configs/schema.json
	$(BIN)/privsec schema --audit --check docs/audit.schema.json
	$(BIN)/privsec catalog --check README.md

format: $(VENV)/.installed-lint  ## Rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: $(VENV)/.installed-core  ## Write what is generated from the code: the schema and the README's tables
	$(BIN)/privsec schema configs/schema.json
	$(BIN)/privsec schema --audit docs/audit.schema.json
	$(BIN)/privsec catalog --into README.md

clean:  ## Remove the environment and every run
	rm -rf $(VENV) runs .pytest_cache .ruff_cache .hypothesis
