# One word each: demo, base, networks, test, check, checkov, format, lock, fuzz, soak, crash, imports, bench, bench-serve, bench-cold, bench-pack, bench-slim, bench-batch, bench-drift, matrix, clean.
PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
FNMODEL := $(BIN)/fnmodel

.DEFAULT_GOAL := help
.PHONY: help demo base networks test lint check checkov format lock fuzz soak crash imports bench bench-serve bench-cold bench-pack bench-slim bench-batch bench-drift matrix clean

help: ## Say what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

# uv installs ten times as fast as pip does, but compiles only when asked; conversion runs in a
# read-only child, which could not keep what it compiles.
$(BIN)/uv: requirements/uv.txt
	@echo "venv       making $(VENV) …"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed; try make PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/demo: $(BIN)/uv requirements/demo.txt pyproject.toml
	@echo "install    locked packages, then fnmodel …"
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements/demo.txt
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev: $(VENV)/demo requirements/dev.txt
	@echo "install    locked tools for tests and checks …"
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements/dev.txt
	@touch $@

# torch comes from pip, which takes the build that the machine offers (PIP_FIND_LINKS, a mirror).
networks: $(VENV)/networks ## Install PyTorch, Keras and Hugging Face for the tests that need them
$(VENV)/networks: $(VENV)/dev requirements/networks.txt
	@echo "install    torch, and locked packages beside it …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==2.13.0"
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements/networks.txt
	@touch $@

samples/churn/model.joblib: samples/churn/train.py | $(VENV)/demo
	@echo "train      samples/churn …"
	@cd samples/churn && ../../$(BIN)/python train.py

demo: $(VENV)/demo samples/churn/model.joblib ## Train a model, deploy it to the embedded cloud, call it
	@$(FNMODEL) deploy --local --project samples/churn
	@$(FNMODEL) invoke --local --project samples/churn

base: $(VENV)/demo ## Make a small base image from Debian's packages, in build/base
	@$(BIN)/python -m fnmodel.pack.debian build/base

# A file's tests stay in one process, since they share what they deploy; files go in order of their
# names, which puts the long ones (the cloud) first.
PYTEST := $(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
test: $(VENV)/dev ## Run the tests, a file on each processor
	@$(PYTEST)

lint: $(VENV)/dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/cfn-lint template.yaml

# The import contracts are tests (tests/test_contracts.py). TESTED=1 says that they have just run.
check: lint $(if $(TESTED),,test) ## Format, lint, types, template and tests

# It has 100 packages of its own, among them an old boto3.
CHECKOV := $(VENV)/checkov
$(CHECKOV)/ready: $(BIN)/uv requirements/checkov.txt
	@echo "install    checkov, apart from everything else …"
	@$(BIN)/uv venv --quiet --clear $(CHECKOV)
	@VIRTUAL_ENV=$(CHECKOV) $(BIN)/uv pip install --quiet --require-hashes -r requirements/checkov.txt
	@touch $@

checkov: $(VENV)/dev $(CHECKOV)/ready ## Hold what checkov finds in the stack against tests/checkov.yaml
	@$(BIN)/python tests/checkov.py $(CHECKOV)/bin/checkov

format: $(VENV)/dev ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

COMPILE := pip compile --quiet --no-header --generate-hashes --universal --python-version 3.11
FRAMEWORKS := --extra onnx --extra xgboost --extra lightgbm --extra catboost --extra skops --extra signing
lock: $(BIN)/uv ## Renew every lock file
	@$(BIN)/uv $(COMPILE) -o requirements/uv.txt requirements/uv.in
	@$(BIN)/uv $(COMPILE) --extra sklearn --extra local --extra runtime --extra dev $(FRAMEWORKS) -o requirements/dev.txt pyproject.toml requirements/build.in
	@$(BIN)/uv $(COMPILE) --extra sklearn --extra local -c requirements/dev.txt -o requirements/demo.txt pyproject.toml requirements/build.in
	@$(BIN)/uv $(COMPILE) -c requirements/dev.txt -o requirements/networks.txt requirements/networks.in
	@for name in clients mlserver checkov; do $(BIN)/uv $(COMPILE) -o requirements/$$name.txt requirements/$$name.in || exit 1; done
	@$(BIN)/python -m fnmodel.pack.lock

fuzz: $(VENV)/dev ## Send 10,000 requests made from the OpenAPI document, and 100,000 broken events
	@$(BIN)/python tests/fuzz.py

soak: $(VENV)/dev ## Send 200,000 requests to one process; fail where its memory grows
	@$(BIN)/python tests/soak.py

crash: $(VENV)/dev ## Hit every call of every command in eight ways, interleave commands, and 2,000 runs of anything
	@$(BIN)/python tests/crash.py
	@FNMODEL_CRASH_RUNS=2000 $(BIN)/pytest --quiet --timeout 0 tests/test_crash_machine.py

imports: $(VENV)/dev ## Renew the list of what cold starts import, for each Python that is here
	@PYTHONPATH=benchmarks $(BIN)/python benchmarks/startup/record.py

bench: $(VENV)/dev ## Print the benchmarks: ratios of one run
	@for script in benchmarks/cold.py benchmarks/serve.py benchmarks/slim.py; do echo "$$script"; $(BIN)/python $$script || exit 1; done

bench-serve: $(VENV)/dev ## Compare warm requests with the bare run, FastAPI and other servers; fail where a gate is missed
	@$(BIN)/python benchmarks/serve.py --peers --check

bench-cold: $(VENV)/dev ## Compare cold starts with a bare script's and with peers'; fail where a gate is missed
	@$(BIN)/python benchmarks/cold.py --peers --check

bench-pack: $(VENV)/dev ## Compare building and pushing with the plain way and with peers; fail where a gate is missed
	@$(BIN)/python benchmarks/pack.py --peers --check

bench-batch: $(VENV)/dev ## Compare batch scoring with pandas and scikit-learn; fail where a gate is missed
	@$(BIN)/python benchmarks/batch.py --check

bench-slim: $(VENV)/networks ## Compare converted models with a stock converter's; fail where a goal is missed
	@$(BIN)/python benchmarks/slim.py --check

bench-drift: $(VENV)/dev ## Count false alarms and power, and compare with NannyML, Evidently and River
	@$(BIN)/python benchmarks/drift.py --peers --check

matrix: $(VENV)/networks ## Convert every kind of model and write docs/matrix.md
	@cd benchmarks/matrix && ../../$(BIN)/python run.py

clean: ## Remove what was made here (not FNMODEL_HOME)
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
