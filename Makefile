# Every target works on a fresh machine with Python 3.11 or newer and make; nothing else is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
# The environment is made anew when what it is made from changes.
INPUTS := requirements-dev.lock pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help setup demo serve sandbox check test coverage torture fuzz clients api-fuzz promtool agree lint format types bench lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## Make the virtual environment in .venv

$(STAMP): $(INPUTS)
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	@echo "Installing $$(grep -c '^[a-z].*==' requirements-dev.lock) packages into $(VENV), checked against the lock file; about a minute without a word ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: $(STAMP) ## 10,000 invoices the whole way against the KSeF sandbox, on this machine
	$(BIN)/ksefd demo

serve: $(STAMP) ## The service with its embedded database on port 8080
	$(BIN)/ksefd serve

sandbox: $(STAMP) ## The KSeF sandbox on port 8099
	$(BIN)/ksefd sandbox

check: lint ## Lint and the fast tests, for the inner loop
	$(BIN)/python -m tests.support.run fast

test: $(STAMP) ## All tests; the last line is the sum of their results
	$(BIN)/python -m tests.support.run all

coverage: $(STAMP) ## All tests, and which branches of the code they reach
	$(BIN)/coverage erase
	$(BIN)/coverage run -m tests.support.run all
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

torture: $(STAMP) ## The long tests: a hundred kill -9 during 50,000 invoices, every fault alone, 1 GB into S3
	KSEFD_TORTURE=1 $(BIN)/python -m pytest -s tests/app/store/test_s3.py tests/road/test_torture.py tests/road/test_kill.py tests/road/test_ksef_trouble.py

# Not locked and needed by nothing else: an environment of its own that sees this one.
FUZZ := var/fuzz
FUZZ_SECONDS ?= 600
SITE := -c 'import sysconfig; print(sysconfig.get_path("purelib"))'

fuzz: $(STAMP) ## Ten minutes of coverage-guided fuzzing each for the readers of bodies and for the check (fetches atheris)
	$(BIN)/python -m venv --clear $(FUZZ)/venv
	$(FUZZ)/venv/bin/python -m pip install --quiet --disable-pip-version-check 'atheris>=3,<4'
	$(BIN)/python $(SITE) > "$$($(FUZZ)/venv/bin/python $(SITE))/project.pth"
	@for target in archives documents; do \
	  mkdir -p $(FUZZ)/$$target && \
	  $(FUZZ)/venv/bin/python -m tests.fuzz.$$target -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=1024 -max_len=20000 \
	    -print_final_stats=1 -artifact_prefix=$(FUZZ)/found-$$target- $(FUZZ)/$$target tests/fuzz/seeds/$$target || exit 1; \
	done

# Needs node 20 or newer. The generators are in environments of their own, locked by hash.
CLIENTS := var/clients

clients: $(STAMP) ## Lint the API's description, generate clients in Python and TypeScript, use them against a service (needs node)
	@command -v npm >/dev/null || { echo "make clients needs node 20 or newer, with npm" >&2; exit 1; }
	$(BIN)/python -m venv --clear $(CLIENTS)/venv
	$(CLIENTS)/venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/clients/requirements.lock
	mkdir -p $(CLIENTS)/typescript
	cp tests/clients/typescript/* $(CLIENTS)/typescript/
	npm ci --prefix $(CLIENTS)/typescript --ignore-scripts --no-audit --no-fund
	$(BIN)/python -m tests.clients

promtool: $(STAMP) ## Metrics, alerts and the alerts' tests by Prometheus's own program (Debian: apt install prometheus)
	promtool check rules deploy/alerts.yml
	promtool test rules tests/deploy/alerts.test.yml
	promtool check config deploy/prometheus.yml
	$(BIN)/python -m pytest tests/app/api/promtool_checks.py

api-fuzz: $(STAMP) ## schemathesis against the API of a running service: all phases, all checks
	$(BIN)/python -m tests.api_fuzz

agree: $(STAMP) ## 20,000 mutated invoices, judged by our check, a sandbox and (with a JDK) another validator
	$(BIN)/python -m tests.agreement

lint: $(STAMP) ## Format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP) ## Put the code into its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## Measure, each figure beside its yardstick from the same run
	$(BIN)/python -m benchmarks.run

lock: ## Renew the lock files (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --extra build pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --extra build --extra dev pyproject.toml -o requirements-dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header tests/clients/requirements.in -o tests/clients/requirements.lock

clean: ## Remove the environment and what runs left behind
	rm -rf $(VENV) var demo-out build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
