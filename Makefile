# Two commands on a machine that has Python (3.11 or newer) and make: `make run` and `make test`.
# Each sets up what it needs in .venv, from the locks, with hashes.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# Many tests wait for processes and sockets.
WORKERS ?= $(shell expr $$(nproc 2>/dev/null || echo 2) + 1)
# What a user's machine says about ALM is not the sandbox's business.
CLEAN := env -u ALM_ACCESS_TOKEN -u ALM_CLIENT_ID -u ALM_CLIENT_SECRET -u ALM_REFRESH_TOKEN

COMPILE := $(PY) -m uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --upgrade --python-version 3.11 pyproject.toml

# Apart from the tests' libraries: mkdocs has many of its own.
SITE := build/mkdocs
# What differs between versions of the libraries.
LOWEST := build/lowest
FAST := $(addprefix tests/unit/,alm/test_protocol.py alm/test_records.py alm/test_transport.py cli/test_group.py \
	cli/test_options.py formats output/test_document.py server/test_app.py server/test_listener.py \
	settings/test_problems.py settings/test_settings.py test_schemas.py) \
	$(addprefix tests/field/,test_network.py test_numbers.py test_sources.py)

.PHONY: run test lint types lowest unit coverage mutants engines bench docs site lock clean

run: $(VENV)/.run ## read the documented example from the embedded sandbox
	@$(CLEAN) ALM_USER_ID=20941371 ALM_BASE_URL=sandbox $(PY) -m connector

test: lint types unit ## all but the slow tests; what CI calls first

lint: $(VENV)/.test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/lint-imports --no-cache

types: $(VENV)/.test
	$(PY) -m mypy

lowest: $(LOWEST)/.made ## the tests of what touches libraries, with the lowest versions that pyproject.toml allows
	$(LOWEST)/bin/python -m pytest -q -n $(WORKERS) -p no:cacheprovider $(FAST)

unit: $(VENV)/.test
	$(PY) -m pytest -n $(WORKERS) -m "not slow"

coverage: $(VENV)/.test ## all tests, the slow ones too, and the lines that they reach
	$(PY) -m pytest -n $(WORKERS) --cov --cov-report=term --cov-fail-under=97

mutants: $(VENV)/.test ## break what safety rests on, line by line, and see whether the tests notice
	$(PY) -m tests.mutants

engines: $(VENV)/.test ## the image under podman, the DAGs under Airflow 2 and 3, xlsx in LibreOffice, pages in Chromium: Debian or Ubuntu, as root or with sudo
	$(PY) -m pytest -n 0 --durations=10 tests/integrations/container tests/integrations/airflow tests/integrations/office

bench: $(VENV)/.test ## the tables of docs/PERFORMANCE.md
	$(PY) -m benchmarks.bench
	$(PY) -m benchmarks.quota
	$(PY) -m benchmarks.shared_quota
	$(PY) -m benchmarks.action
	$(PY) -m benchmarks.scale
	$(PY) -m benchmarks.serve
	$(PY) -m benchmarks.ahead

docs: $(VENV)/.test ## write the tables of the pages, and the API documents, from the schemas
	$(PY) -m scripts.tables
	$(PY) -m scripts.openapi

site: $(SITE)/.made ## build the documentation in build/site, and fail on a broken link
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --quiet --strict

lock: $(VENV)/.test ## resolve the locks anew
	$(COMPILE) --extra xlsx --extra html --output-file requirements/run.lock
	$(COMPILE) --extra serve --extra xlsx --extra html --output-file requirements/serve.lock
	$(COMPILE) --extra test --output-file requirements/test.lock
	$(COMPILE) --extra docs --output-file requirements/docs.lock

clean:
	rm -rf $(VENV) build dist mutants .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed; {sys.executable} is {sys.version.split()[0]}. Name another: make PYTHON=python3.12")'
	@echo "setting up $(VENV)" >&2; $(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/run.lock | $(PY)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: -r requirements/run.lock
	@touch $@

$(VENV)/.test: requirements/test.lock | $(PY)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: -r requirements/test.lock
	@touch $@ $(VENV)/.run

$(LOWEST)/.made: pyproject.toml requirements/test.lock | $(VENV)/.test
	@$(PY) -m uv venv --quiet --clear --python $(PY) $(LOWEST)
	@$(PY) -m uv pip install --quiet --python $(LOWEST)/bin/python --only-binary :all: --resolution lowest-direct -r pyproject.toml --extra serve --extra parquet --extra xlsx --extra html
	@$(PY) -m uv pip install --quiet --python $(LOWEST)/bin/python --only-binary :all: -c requirements/test.lock pytest pytest-xdist hypothesis
	@touch $@

$(SITE)/.made: requirements/docs.lock | $(PY)
	@$(PY) -m venv --clear $(SITE)
	@$(SITE)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: -r requirements/docs.lock
	@touch $@
