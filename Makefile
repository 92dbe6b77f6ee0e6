PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PROTOS := $(wildcard protos/verifier/v1/*.proto)
PROTOC = $(BIN)/python -m grpc_tools.protoc -I protos

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-full lint types protos bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## certify a few digits, from registration to the checked certificate
	$(BIN)/python -m verifier.demo

test: $(INSTALLED) ## run the tests, but the slow ones
	$(BIN)/python -m pytest -m "not slow"

test-full: $(INSTALLED) ## run all tests
	$(BIN)/python -m pytest

lint: $(INSTALLED) ## check the style of the code and of the API
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/buf lint
	$(BIN)/buf format -d --exit-code

types: $(INSTALLED) ## check the types
	$(BIN)/mypy

protos: $(INSTALLED) ## write verifier/v1 from protos/ again
	$(PROTOC) --python_out=. --pyi_out=. $(PROTOS)
	$(PROTOC) --grpc_python_out=. $(shell grep -l '^service ' $(PROTOS))

bench: $(INSTALLED) ## measure the speed of sampling, the draws of decisions, jobs, and the speed and tightness of bounds
	$(BIN)/python -m benchmarks.sampling --json -
	$(BIN)/python -m benchmarks.sequential --json -
	$(BIN)/python -m benchmarks.jobs --json -
	$(BIN)/python -m benchmarks.bounds --json -

clean: ## remove the environment and everything else that git ignores here
	rm -rf .venv build dist *.egg-info demo-out .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find verifier tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "verifier needs Python 3.11 or newer, got %d.%d: make PYTHON=python3.11" % sys.version_info[:2])'
	@echo "Installing into .venv; the first time takes a few minutes."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[server,postgres,plot,gate,images,parquet,demo,dev]'
	@touch $@
