# Two commands matter: `make demo` and `make test`. Each does the set-up it needs.
PROTOCOL ?= deri

.PHONY: help setup demo test lint format bench lock
.DEFAULT_GOAL := help

help:
	@echo "make demo    a local market, the keeper as its own process, a crash: watch it liquidate"
	@echo "make test    everything: Solidity, unit, property, chain, fault and end-to-end tests"
	@echo "make lint    ruff, mypy, forge fmt"
	@echo "make bench   measure; prints a table and writes bench.json"
	@echo "make setup   what all of the above need (they call it themselves)"
	@echo "make lock    resolve the Python packages again and write the lock files"

setup:
	@scripts/setup

demo: setup
	@.venv/bin/python scripts/demo.py $(PROTOCOL)

test: setup
	@contracts/tools/unpack-vectors
	@contracts/tools/unpack-meridian-vectors
	@cd contracts && node_modules/.bin/forge test
	@.venv/bin/python -m pytest -n 3 --dist loadfile

lint: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@cd contracts && node_modules/.bin/forge fmt --check

format: setup
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .
	@cd contracts && node_modules/.bin/forge fmt

bench: setup
	@.venv/bin/python scripts/bench.py

lock: setup
	@.venv/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -o requirements.lock
	@.venv/bin/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -o requirements-dev.lock
