# setup: everything the project needs, from a fresh Debian 12 with python3 and cargo.   demo: the main job, on a live service.
# test: lint and all tests.   bench: bench/results.json.   wheel: a wheel that carries the agent.   clean: what was built.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
AGENT := src/hutch/_guest/hutch-agent
NPM := tests/clients/freestyle
# Tests that need no machine and share nothing run on all cores; all others have the box to themselves.
INTEGRATION := api cli freestyle hyperfleet notify nullspace proxy starpod store
SMALL := tests/unit tests/contract/store_suite $(addprefix tests/integration/,$(INTEGRATION))

.PHONY: setup demo test lint bench wheel clean
.NOTPARALLEL:

setup: $(VENV)/.done $(AGENT) $(NPM)/node_modules/.done

$(VENV)/.done: requirements.lock pyproject.toml deploy/setup-host
	deploy/setup-host
	python3 -m venv --clear $(VENV)
	$(VENV)/bin/pip install -q --require-hashes -r requirements.lock
	$(VENV)/bin/pip install -q --no-build-isolation --no-deps --no-index -e .
	touch $@

$(NPM)/node_modules/.done: $(NPM)/package-lock.json $(VENV)/.done
	$(VENV)/bin/npm ci --ignore-scripts --no-audit --no-fund --silent --prefix $(NPM)
	touch $@

$(AGENT): guest/Cargo.toml guest/Cargo.lock $(wildcard guest/src/*.rs guest/src/*/*.rs) guest/build
	guest/build

demo: setup
	$(PY) examples/01_main_job.py

lint: setup
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo
	cd guest && cargo fmt --check && cargo clippy --release --locked --all-targets -q -- -D warnings

test: lint
	cd guest && cargo test --release --locked -q
	$(VENV)/bin/pytest -n auto --dist loadfile $(SMALL)
	$(VENV)/bin/pytest $(addprefix --ignore=,$(SMALL))

bench: setup
	$(PY) -m bench

wheel: setup
	$(VENV)/bin/python -m hatchling build -t wheel

clean:
	rm -rf $(VENV) $(NPM)/node_modules dist build guest/target src/hutch/_guest .hutch .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
